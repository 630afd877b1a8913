"""Settled clutter: the same for the same seed, at rest, inside the area, and with no object inside another."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from dexgrasp_sim.families import make_object, sample_objects
from dexgrasp_sim.scene import TIMESTEP, add_object, add_static_box, set_physics
from dexgrasp_sim.settle import SettleConfig, UnsettledError, rest, settle

AREA = (-0.15, 0.15, -0.25, 0.25)


def scene(seed: int, count: int = 6) -> tuple[list, list]:
    rng = np.random.default_rng(seed)
    models = sample_objects(count, rng)
    return models, settle(models, AREA, rng, friction=0.6)


def test_same_seed_gives_the_same_clutter() -> None:
    first, again, other = scene(1)[1], scene(1)[1], scene(2)[1]
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("seed", [0, 3])
def test_objects_stay_where_they_are(seed: int) -> None:
    models, poses = scene(seed)
    spec = mujoco.MjSpec()
    set_physics(spec)
    add_static_box(spec, "table", (0, 0, -0.05), (2, 2, 0.1), 0.6)
    for model, pose in zip(models, poses, strict=True):
        add_object(spec, model, 0.6, pose)
    compiled = spec.compile()
    data = mujoco.MjData(compiled)
    mujoco.mj_forward(compiled, data)
    assert min((contact.dist for contact in data.contact), default=0.0) > -1e-3, "nothing is inside anything"
    mujoco.mj_step(compiled, data, round(2.0 / TIMESTEP))
    for model, pose in zip(models, poses, strict=True):
        now = data.joint(f"{model.name}/free").qpos[:3]
        assert np.linalg.norm(now - pose[:3, 3]) < 2e-3
        assert AREA[0] < now[0] < AREA[1]
        assert AREA[2] < now[1] < AREA[3]
        assert (pose[:3, :3] @ model.mesh.vertices.T + pose[:3, 3:]).min(axis=1)[2] > -1e-3, "not in the table"


def test_impossible_scene_says_so() -> None:
    rng = np.random.default_rng(0)
    models = sample_objects(6, rng)
    with pytest.raises(UnsettledError, match="fewer objects"):
        settle(models, (-0.03, 0.03, -0.03, 0.03), rng, friction=0.6, config=SettleConfig(attempts=2))


def test_no_objects_no_poses() -> None:
    assert settle([], AREA, np.random.default_rng(0), friction=0.6) == []


def test_what_is_put_down_a_little_high_comes_to_rest_below() -> None:
    can = make_object("can", 0)
    height = -can.mesh.vertices[:, 2].min()
    pose = np.eye(4)
    pose[:3, 3] = 0.05, -0.1, height + 0.01
    settled = rest([can], [pose], AREA, friction=0.2)
    assert settled is not None
    assert settled[0][:3, 3] == pytest.approx([0.05, -0.1, height], abs=1e-3)


def test_a_rolling_ball_is_waited_for_inside_the_area_only() -> None:
    ball, can = make_object("ball", 0), make_object("can", 0).named("can")
    radius = -ball.mesh.vertices[:, 2].min()
    # The ball drops on the shoulder of the lying can, and rolls away from it.
    lying = np.eye(4)
    lying[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    lying[2, 3] = np.abs(can.mesh.vertices[:, 0]).max()
    above = np.eye(4)
    above[:3, 3] = 0.02, 0.0, 2 * lying[2, 3] + radius + 0.01
    wide, narrow = (-2.0, 2.0, -2.0, 2.0), (-0.02, 0.06, -0.25, 0.25)
    assert rest([can, ball], [lying, above], wide, friction=0.2) is None, "it still rolls after a second"
    settled = rest([can, ball], [lying, above], wide, friction=0.2, patience=20.0)
    assert settled is not None
    assert settled[1][2, 3] == pytest.approx(radius, abs=1e-3)
    assert settled[1][0, 3] > 0.06
    assert rest([can, ball], [lying, above], narrow, friction=0.2, patience=20.0) is None
    assert rest([], [], wide, friction=0.2) == []
