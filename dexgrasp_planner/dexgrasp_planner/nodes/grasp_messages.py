"""Between grasp sets and the Grasp messages of the suite."""

from __future__ import annotations

import numpy as np
from dexgrasp_common.nodes.messages import MessageError, pose_matrix, pose_msg
from geometry_msgs.msg import Point
from std_msgs.msg import Header

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_msgs.msg import Grasp, GraspArray
from dexgrasp_planner.errors import InvalidGraspError


def grasp_array(grasps: GraspSet, joint_names: tuple[str, ...], header: Header) -> GraspArray:
    """All grasps, best first, in the header's frame."""
    message = GraspArray(header=header)
    for i in range(len(grasps)):
        x, y, z = (float(value) for value in grasps.seed_point[i])
        message.grasps.append(
            Grasp(
                header=header,
                hand=grasps.hand,
                palm_pose=pose_msg(grasps.world_T_palm[i]),
                joint_names=list(joint_names),
                pregrasp_positions=grasps.pregrasp[i].tolist(),
                grasp_positions=grasps.grasp[i].tolist(),
                squeeze_positions=grasps.squeeze[i].tolist(),
                score=float(grasps.score[i]),
                log_likelihood=float(grasps.log_likelihood[i]),
                graspness=float(grasps.graspness[i]),
                seed_point=Point(x=x, y=y, z=z),
            )
        )
    return message


def grasp_set(message: Grasp, hand: HandModel) -> GraspSet:
    """One grasp as a set of one, joints in the hand's own order.

    Raises:
        InvalidGraspError: Another hand, joints that are missing, unknown or out of place, or numbers that are no pose.
    """
    if message.hand != hand.name:
        raise InvalidGraspError(f"The grasp is for hand {message.hand!r}; this cell has {hand.name!r}.")
    if sorted(message.joint_names) != sorted(hand.joint_names):
        raise InvalidGraspError(
            f"The grasp names joints {list(message.joint_names)}; {hand.name} has {list(hand.joint_names)}."
        )
    order = [list(message.joint_names).index(name) for name in hand.joint_names]
    postures = {}
    for name in ("pregrasp", "grasp", "squeeze"):
        values = np.asarray(getattr(message, f"{name}_positions"), dtype=np.float64)
        if values.shape != (len(order),) or not np.isfinite(values).all():
            raise InvalidGraspError(f"{name}_positions must be {len(order)} finite numbers; got {values.tolist()}.")
        postures[name] = values[order][None]
    try:
        world_T_palm = pose_matrix(message.palm_pose)
    except (MessageError, ValueError) as error:
        raise InvalidGraspError(f"palm_pose: {error}") from error
    point = message.seed_point
    return GraspSet(
        hand.name,
        world_T_palm[None],
        **postures,
        score=np.array([message.score]),
        log_likelihood=np.array([message.log_likelihood]),
        graspness=np.array([message.graspness]),
        seed_point=np.array([[point.x, point.y, point.z]]),
    )
