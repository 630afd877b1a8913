"""Grasps whose outcome is known, for the tests of the grasp testers."""

from __future__ import annotations

import numpy as np
import trimesh
from dexgrasp_common.transforms import from_xyz_quat
from dexgrasp_sim.objects import ObjectModel, Part, solid
from numpy.typing import NDArray

Grasps = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # object_T_palm, grasp, squeeze

_GREY = (0.5, 0.5, 0.5)


def cylinder() -> ObjectModel:
    """6 cm thick, 15 cm long, 0.1 kg."""
    surface = trimesh.creation.cylinder(0.03, 0.15, sections=48)
    return solid("cylinder", {}, surface, [Part("cylinder", (0.03, 0.075), np.eye(4))], _GREY)


def cube() -> ObjectModel:
    """4 cm, 0.1 kg."""
    return solid("cube", {}, trimesh.creation.box(extents=(0.04,) * 3), [Part("box", (0.02,) * 3, np.eye(4))], _GREY)


def enveloping() -> Grasps:
    """The right LEAP hand round the cylinder, palm, ring finger, middle finger and thumb in contact.

    Found by search: 3000 random palm poses near the surface; the fingers flexed in random ratios until they touched,
    and each link that touched locked its joints; of the grasps that hold without the hand touching itself the one
    that turned least. 0.02 rad of squeeze on the joints that press.
    """
    palm = from_xyz_quat([0.0143, 0.06957, 0.07734, 0.13733, 0.68308, 0.64466, -0.31457])
    index, middle = [0.3062, 0.5067, 0.3928, 1.1991], [0.1811, 0.1307, 0.7885, 0.9797]
    ring, thumb = [0.2469, 0.5018, 1.1991, 0.8324], [0.9930, 0.8743, 0.8857, 1.1195]
    grasp = np.array(index + middle + ring + thumb)
    squeeze = grasp.copy()
    squeeze[[5, 9, 10, 11, 14, 15]] += 0.02
    return palm[None], grasp[None], squeeze[None]


def pads_about_a_cube(gap: float = 0.0, aside: float = 0.0) -> Grasps:
    """The cube between the Panda gripper's pads, which are two plates, not squeezed.

    Args:
        gap: From each pad to the cube where it is in the middle [m].
        aside: How far it is towards one of them [m].
    """
    palm_T_cube = np.eye(4)
    palm_T_cube[1:3, 3] = aside, 0.0584 + 0.0445  # height of the middle of the pads
    grasp = np.full((1, 2), 0.02 + gap)
    return np.linalg.inv(palm_T_cube)[None], grasp, grasp.copy()


def shifted(grasps: Grasps, offset: tuple[float, float, float]) -> Grasps:
    """The same grasps, the palms moved by `offset` along their own axes [m]."""
    moved = grasps[0].copy()
    moved[:, :3, 3] += moved[:, :3, :3] @ np.array(offset)
    return moved, *grasps[1:]


def concatenated(*several: Grasps) -> Grasps:
    """All of them, in order."""
    poses, grasps, squeezes = (np.concatenate(arrays) for arrays in zip(*several, strict=True))
    return poses, grasps, squeezes
