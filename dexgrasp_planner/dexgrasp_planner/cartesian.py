"""Straight lines of the palm, followed by the arm without changing its configuration on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dexgrasp_planner.manipulator import Manipulator

Array = NDArray[np.float64]

# Inverse kinematics is solved this often along a line [m].
LINE_STEP = 0.01
# A joint that turns further than this over one step has gone through a singularity [rad].
LARGEST_TURN = 0.25


def follow_line(manipulator: Manipulator, start: Array, world_T_palm: Array, shift: Array) -> Array:
    """Arm configurations along a translation of the palm, as far as the arm can follow.

    Args:
        manipulator: The robot.
        start: array (D,), configuration at the start of the line [rad].
        world_T_palm: array (4, 4), pose of the palm at the start.
        shift: array (3,), the translation [m], world frame.

    Returns:
        array (N, D) [rad], the start first; all `line_points(shift)` of them where the arm can follow to the end.
    """
    path = [start]
    for offset in line_points(shift)[1:]:
        pose = world_T_palm.copy()
        pose[:3, 3] += offset
        near = manipulator.reach(pose, path[-1])
        if not len(near) or np.abs(near[0] - path[-1]).max() > LARGEST_TURN:
            break
        path.append(near[0])
    return np.array(path)


def line_points(shift: Array) -> Array:
    """Offsets (N, 3) [m] along a translation, evenly spaced, zero first and the whole shift last."""
    count = max(int(np.ceil(np.linalg.norm(shift) / LINE_STEP)), 1)
    return np.linspace(0.0, 1.0, count + 1)[:, None] * shift
