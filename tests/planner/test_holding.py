"""What fingers would meet: features of grasps on things whose contacts are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from dexgrasp_planner.holding import FEATURES, GraspFeatures
from dexgrasp_planner.success import SuccessModel
from numpy.typing import NDArray

from dexgrasp_description import load_hand

from .cylinder_scene import CylinderScene

HAND = load_hand("leap_right")


def named(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return dict(zip(FEATURES, values.T, strict=True))


def test_a_good_grasp_touches_from_both_sides_and_one_in_the_air_touches_nothing(
    cylinder_scene: CylinderScene,
) -> None:
    _, space, grasps = cylinder_scene
    away = replace(grasps, world_T_palm=grasps.world_T_palm.copy())
    away.world_T_palm[:, 2, 3] += 0.3
    features = GraspFeatures(HAND)
    good, nothing = named(features.of(space, grasps, presses=False)), named(features.of(space, away, presses=True))
    assert (good["fingers"] >= 2).all()
    assert (good["thumb"] == 1.0).all()
    assert (good["opposition"] > 0.3).all(), "normals of opposing contacts cancel"
    assert (good["closed"] < 1.0).all(), "the object stops the fingers"
    assert good["off_axis"].max() < 0.05
    assert (nothing["links"] == 0.0).all()
    np.testing.assert_allclose(nothing["residual"], 1.0, atol=1e-5)
    np.testing.assert_allclose(nothing["closed"], 1.0, atol=1e-3)
    np.testing.assert_allclose(good["height"], nothing["height"])
    assert good["residual"].mean() < 0.8


def test_features_are_numbers_of_each_grasp_alone(cylinder_scene: CylinderScene) -> None:
    space = cylinder_scene.space
    grasps = replace(cylinder_scene.grasps, log_likelihood=np.arange(10.0), graspness=np.ones(10))
    features = GraspFeatures(HAND)
    together = features.of(space, grasps, presses=False)
    assert together.shape == (10, len(FEATURES))
    assert np.isfinite(together).all()
    np.testing.assert_allclose(features.of(space, grasps[[3]], presses=False), together[3:4], rtol=1e-4, atol=1e-5)
    assert features.of(space, grasps[[]], presses=False).shape == (0, len(FEATURES))


def test_the_ensemble_answers_with_its_mean_and_takes_the_strange_for_the_farthest_known() -> None:
    torch.manual_seed(0)
    model = SuccessModel(("a", "b"), members=3)
    model.mean.copy_(torch.tensor([1.0, 2.0]))
    model.scale.copy_(torch.tensor([0.5, 2.0]))
    values = np.array([[1.0, 2.0], [1.5, -2.0], [1e6, 1e9]])
    members = model(torch.as_tensor(values, dtype=torch.float32))
    assert members.shape == (3, 3)
    np.testing.assert_allclose(model.logits(values), members.mean(dim=0).detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(model.logits(values[2:]), model.logits(np.array([[1.0 + 2.5, 2.0 + 10.0]])), atol=1e-5)
