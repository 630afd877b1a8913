"""The camera against closed forms: what it draws lies where a pinhole camera of the given intrinsics sees it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_sim.camera import FAR, CameraRenderer, add_camera, set_depth_range
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics

CENTRE, RADIUS = np.array([0.05, -0.04, 0.12]), 0.06
CAMERAS = [
    CameraIntrinsics(640, 480, 385.0, 385.0, 319.5, 239.5),
    CameraIntrinsics(320, 240, 310.0, 290.0, 140.25, 131.75),
    CameraIntrinsics(200, 300, 260.0, 275.0, 120.0, 110.0),
]
POSES = [look_at((0.4, 0.1, 0.6), (0.0, 0.0, 0.05)), look_at((-0.1, 0.5, 0.4), (0.05, 0.0, 0.1), up=(0.2, 0.1, 1.0))]


def scene(world_T_camera: NDArray[np.float64], intrinsics: CameraIntrinsics) -> tuple[mujoco.MjModel, mujoco.MjData]:
    spec = mujoco.MjSpec()
    set_depth_range(spec)
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 128, 64  # a rounder ball
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2.0, 2.0, 1.0])
    ball = spec.worldbody.add_body(name="ball", pos=CENTRE)
    ball.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[RADIUS, 0.0, 0.0], rgba=[1.0, 0.0, 0.0, 1.0])
    add_camera(spec, world_T_camera, intrinsics)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def rays(intrinsics: CameraIntrinsics) -> NDArray[np.float64]:
    """Points (H, W, 3) of depth 1 in the optical frame."""
    v, u = np.indices((intrinsics.height, intrinsics.width), dtype=np.float64)
    x, y = (u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def expected_depth(
    world_T_camera: NDArray[np.float64], intrinsics: CameraIntrinsics
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Depth of the plane z = 0 and of the ball, each (H, W), infinite where a ray misses."""
    direction = rays(intrinsics) @ world_T_camera[:3, :3].T
    eye = world_T_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = np.where(direction[..., 2] < 0, -eye[2] / direction[..., 2], np.inf)
        a, b = (direction**2).sum(-1), direction @ (eye - CENTRE)
        root = b**2 - a * (((eye - CENTRE) ** 2).sum() - RADIUS**2)
        ball = np.where(root >= 0, (-b - np.sqrt(root)) / a, np.inf)
    return plane, ball


@pytest.mark.parametrize("intrinsics", CAMERAS)
@pytest.mark.parametrize("world_T_camera", POSES)
def test_depth_and_segmentation_match_ray_casting(
    world_T_camera: NDArray[np.float64], intrinsics: CameraIntrinsics
) -> None:
    model, data = scene(world_T_camera, intrinsics)
    camera = CameraRenderer(model)
    depth, bodies = camera.depth(data), camera.segmentation(data)
    colour = camera.colour(data)
    camera.close()
    plane, ball = expected_depth(world_T_camera, intrinsics)
    assert depth.shape == (intrinsics.height, intrinsics.width)
    assert depth.dtype == np.float32

    on_ball = bodies == model.body("ball").id
    sees_ball = ball < plane
    assert (on_ball != sees_ball).mean() < 0.003, "only pixels on the ball's outline may differ"
    v, u = np.nonzero(on_ball)
    expected_v, expected_u = np.nonzero(sees_ball)
    assert np.abs([u.mean() - expected_u.mean(), v.mean() - expected_v.mean()]).max() < 0.25, "not shifted by a pixel"

    inner = on_ball & (ball < np.inf) & (ball < np.quantile(ball[sees_ball], 0.7))
    assert np.abs(depth - ball)[inner].max() < 5e-4
    table = (bodies == 0) & ~sees_ball & (plane < 3.0)
    assert np.abs(depth - plane)[table].max() < 1e-4 * plane[table].max() + 1e-4

    points = apply(world_T_camera, (rays(intrinsics) * depth[..., None])[table].astype(np.float64))
    assert np.abs(points[:, 2]).max() < 2e-4, "deprojected, the plane is flat and level"
    assert colour[inner][:, 0].mean() > 3 * colour[inner][:, 1].mean(), "the ball is red"


def test_nothing_has_no_depth() -> None:
    up = look_at((0.0, 0.0, 1.0), (0.3, 0.0, 2.0))
    model, data = scene(up, CAMERAS[1])
    camera = CameraRenderer(model)
    assert (camera.depth(data) == 0.0).all()
    assert (camera.segmentation(data) == -1).all()
    camera.close()
    assert FAR < 65.535, "fits into 16-bit millimetres"


def test_known_point_is_drawn_at_its_projection() -> None:
    intrinsics, world_T_camera = CAMERAS[1], POSES[0]
    model, data = scene(world_T_camera, intrinsics)
    camera = CameraRenderer(model)
    v, u = np.nonzero(camera.segmentation(data) == model.body("ball").id)
    camera.close()
    x, y, z = apply(invert(world_T_camera), CENTRE)
    # A sphere's image is a little off its centre's projection; at this angle by less than a pixel.
    assert u.mean() == pytest.approx(intrinsics.fx * x / z + intrinsics.cx, abs=1.0)
    assert v.mean() == pytest.approx(intrinsics.fy * y / z + intrinsics.cy, abs=1.0)
