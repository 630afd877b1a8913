"""Closed-form inverse kinematics of Universal Robots arms: every solution of a flange pose.

The arm has three parallel axes (shoulder lift, elbow, wrist 1), so the six equations fall apart into a
square root for the pan (2 solutions), one for wrist 2 (2) and a planar two-link arm (2): up to eight
configurations. Derivation after Hawkins, "Analytic Inverse Kinematics for the Universal Robots UR-5/UR-10
Arms" (2013), with every angle taken by atan2, so that accuracy holds near singular configurations.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import ArmModel
from dexgrasp_planner.errors import MotionPlannerUnavailableError

Array = NDArray[np.float64]

# Angles between neighbouring axes of every UR arm [rad].
_UR_TWISTS = np.pi / 2.0 * np.array([1.0, 0.0, 0.0, 1.0, -1.0, 0.0])
# How far beyond its reach a pose may lie and still count as reached with a straight arm [m].
_REACH_TOLERANCE = 1e-9
# Below this |sin(wrist 2)| wrist 1 and wrist 3 turn about the same axis, and wrist 3 is free to choose.
_WRIST_SINGULAR = 1e-9


class InverseKinematics(Protocol):
    """What the planner asks of an arm's inverse kinematics."""

    def solutions(self, base_T_flange: Array, reference: Array) -> Array:
        """Configurations (K, D) [rad] that reach a pose, nearest to the reference (D,) first; K may be 0."""


class UrInverseKinematics:
    """All configurations of a UR arm for a pose of its flange.

    Args:
        dh: array (6, 3), standard Denavit-Hartenberg a [m], d [m], alpha [rad] per joint, with a UR's twists.
        lower: array (6,), joint limits [rad].
        upper: array (6,), joint limits [rad].
    """

    def __init__(self, dh: Array, lower: Array, upper: Array) -> None:
        self._a, self._d = np.asarray(dh, dtype=np.float64).T[:2]
        self._lower, self._upper = np.asarray(lower), np.asarray(upper)

    def solutions(self, base_T_flange: Array, reference: Array) -> Array:
        """Every configuration that reaches a pose, nearest to a reference first.

        Of the configurations that differ by full turns of single joints the one nearest to the reference stands for
        all. At a singular wrist (wrist 2 at a multiple of pi) wrist 3 stays where the reference has it.

        Args:
            base_T_flange: array (4, 4), pose of the flange in the base link [m].
            reference: array (6,), configuration to stay near [rad].

        Returns:
            array (K, 6) [rad], 0 <= K <= 8, within the joint limits, by distance to the reference.
        """
        found = self._closed_form(base_T_flange, float(reference[5]))
        if not found:
            return np.empty((0, 6))
        q = nearest_equivalent(np.array(found), reference, self._lower, self._upper)
        q = q[((q >= self._lower) & (q <= self._upper)).all(axis=1)]
        return q[np.argsort(np.linalg.norm(q - reference, axis=1), kind="stable")]

    def _closed_form(self, pose: Array, wrist_3_when_free: float) -> list[tuple[float, ...]]:
        a2, a3 = float(self._a[1]), float(self._a[2])
        d1, d4, d5, d6 = (float(self._d[i]) for i in (0, 3, 4, 5))
        (r00, r01, r02, px), (r10, r11, r12, py), (r20, r21, r22, pz), _ = pose.tolist()
        # The wrist centre lies d4 beside the plane in which the three parallel joints move the arm.
        wx, wy = px - d6 * r02, py - d6 * r12
        in_plane = wx * wx + wy * wy - d4 * d4
        if in_plane < -_REACH_TOLERANCE:
            return []
        in_plane = math.sqrt(max(in_plane, 0.0))
        found: list[tuple[float, ...]] = []
        for shoulder in (1.0, -1.0):
            q1 = math.atan2(wy, wx) + shoulder * math.atan2(in_plane, d4) + 0.5 * math.pi
            s1, c1 = math.sin(q1), math.cos(q1)
            # The plane's normal, seen from the flange: (s5 c6, -s5 s6, c5).
            n0, n1, n2 = r00 * s1 - r10 * c1, r01 * s1 - r11 * c1, r02 * s1 - r12 * c1
            s5_abs = math.hypot(n0, n1)
            for wrist in (1.0, -1.0):
                q5 = math.atan2(wrist * s5_abs, n2)
                q6 = math.atan2(-wrist * n1, wrist * n0) if s5_abs > _WRIST_SINGULAR else wrist_3_when_free
                s6, c6, s5, c5 = math.sin(q6), math.cos(q6), math.sin(q5), math.cos(q5)
                # Axes of the flange in the plane of the arm: e along (c1, s1, 0), f along z.
                xe, xf = c1 * r00 + s1 * r10, r20
                ye, yf = c1 * r01 + s1 * r11, r21
                ze, zf = c1 * r02 + s1 * r12, r22
                # Axes of wrist 1 there: z4 = -(s6 x6 + c6 y6), x4 = c5 (c6 x6 - s6 y6) - s5 z6.
                z4e, z4f = -s6 * xe - c6 * ye, -s6 * xf - c6 * yf
                x4e = c5 * (c6 * xe - s6 * ye) - s5 * ze
                x4f = c5 * (c6 * xf - s6 * yf) - s5 * zf
                q234 = math.atan2(x4f, x4e)
                # Where wrist 1 sits in the plane: the flange back by d6 along z6 and by d5 along z4.
                u = c1 * px + s1 * py - d6 * ze - d5 * z4e
                v = pz - d1 - d6 * zf - d5 * z4f
                c3 = (u * u + v * v - a2 * a2 - a3 * a3) / (2.0 * a2 * a3)
                if abs(c3) > 1.0 + _REACH_TOLERANCE:
                    continue
                c3 = min(max(c3, -1.0), 1.0)
                s3_abs = math.sqrt(1.0 - c3 * c3)
                for elbow in (1.0, -1.0):
                    s3 = elbow * s3_abs
                    q3 = math.atan2(s3, c3)
                    q2 = math.atan2(v, u) - math.atan2(a3 * s3, a2 + a3 * c3)
                    found.append((q1, q2, q3, q234 - q2 - q3, q5, q6))
        return found


def inverse_kinematics(arm: ArmModel) -> InverseKinematics:
    """The inverse kinematics of an arm.

    Raises:
        MotionPlannerUnavailableError: The arm's data has no DH table, so there is no closed form for it.
    """
    if arm.dh is None or not np.allclose(arm.dh[:, 2], _UR_TWISTS):
        raise MotionPlannerUnavailableError(
            f"Arm {arm.name!r} has no closed-form inverse kinematics: its data file needs the `dh` table of a UR arm."
        )
    return UrInverseKinematics(arm.dh, arm.lower, arm.upper)


def nearest_equivalent(q: Array, reference: Array, lower: Array, upper: Array) -> Array:
    """The configurations, each joint turned by multiples of 2 pi until nearest to the reference within its limits.

    Args:
        q: array (K, D) [rad].
        reference: array (D,) [rad].
        lower: array (D,) [rad].
        upper: array (D,) [rad].

    Returns:
        array (K, D) [rad]; a joint that no turn brings within its limits stays outside them.
    """
    near = reference + (q - reference + np.pi) % (2.0 * np.pi) - np.pi
    near = np.where(near > upper, near - 2.0 * np.pi, near)
    return np.where(near < lower, near + 2.0 * np.pi, near)
