"""The swappable motion planners: who finds the arm's way around obstacles. The phases of a pick are common to all."""

from __future__ import annotations

from dexgrasp_common.registry import Backend, Registry

# Factories take a Cell and a MotionConfig and return a GraspMotionPlanner.
MOTION_PLANNERS = Registry(
    "motion planner",
    {
        "ompl": Backend(
            "dexgrasp_planner.grasp_motion:with_rrt_connect",
            summary="closed-form inverse kinematics, coal, RRTConnect, toppra",
        ),
    },
    default="ompl",
)
