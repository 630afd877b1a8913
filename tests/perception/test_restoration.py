import time
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_common.registry import UnknownBackendError
from dexgrasp_perception.classical_restoration import ClassicalConfig, ClassicalRestoration, fill_holes
from dexgrasp_perception.depth_image import load_depth, load_intrinsics
from dexgrasp_perception.errors import PerceptionError
from dexgrasp_perception.frame import Frame

from dexgrasp_perception import DEPTH_RESTORATIONS

from .scenes import INTRINSICS, plane_depth, table_with_boxes

NORMAL = np.array([0.1, -0.55, -0.8]) / np.linalg.norm([0.1, 0.55, 0.8])


def _frame(depth: np.ndarray) -> Frame:
    return Frame(depth.astype(np.float32), INTRINSICS)


def _restore(depth: np.ndarray, name: str = "classical") -> np.ndarray:
    return DEPTH_RESTORATIONS.create(name).restore(_frame(depth)).depth


def _step(drop: float) -> np.ndarray:
    depth = np.full((480, 640), 0.6)
    depth[:, 320:] += drop
    return depth


def test_none_leaves_the_depth_alone() -> None:
    depth, _, _ = table_with_boxes(noise=0.002)
    assert np.array_equal(_restore(depth, "none"), depth.astype(np.float32))


def test_hole_in_a_tilted_plane_is_filled_to_a_tenth_of_a_millimetre() -> None:
    truth = plane_depth(NORMAL, 0.7)
    depth = truth.copy()
    depth[200:220, 300:318] = 0
    depth[50, 60] = np.nan
    filled = _restore(depth)
    assert np.abs(filled - truth)[190:230, 290:330].max() < 1e-4
    assert abs(filled[50, 60] - truth[50, 60]) < 1e-4


def test_hole_in_a_noisy_plane_is_filled_to_a_millimetre() -> None:
    truth = plane_depth(NORMAL, 0.7)
    depth = truth + np.random.default_rng(0).normal(0, 0.001, truth.shape)
    depth[200:220, 300:318] = 0
    assert np.abs(_restore(depth) - truth)[200:220, 300:318].max() < 1e-3


def test_smoothing_halves_the_noise_of_a_plane() -> None:
    truth = plane_depth(NORMAL, 0.7)
    depth = truth + np.random.default_rng(0).normal(0, 0.001, truth.shape)
    error = (_restore(depth) - truth)[5:-5, 5:-5]
    assert error.std() < 0.0005
    assert abs(error.mean()) < 1e-5


@pytest.mark.parametrize("drop", [0.03, 0.1, 0.5])
def test_step_edge_stays_sharp(drop: float) -> None:
    truth = _step(drop)
    restored = _restore(truth + np.random.default_rng(0).normal(0, 0.001, truth.shape))
    assert np.abs(restored - truth)[5:-5, 5:-5].max() < 0.004  # nothing in between, in the very first pixel


@pytest.mark.parametrize("drop", [0.03, 0.1, 0.5])
@pytest.mark.parametrize("width", [1, 2, 4, 12])
def test_hole_across_a_step_stays_a_hole(drop: float, width: int) -> None:
    depth = _step(drop)
    depth[200:230, 320 - width // 2 : 320 + (width + 1) // 2] = 0
    restored = _restore(depth)
    hole = depth == 0
    assert (restored[hole] == 0).all()
    assert (restored[~hole] > 0).all()


def test_shadow_beside_an_object_stays_a_hole() -> None:
    depth, label, _ = table_with_boxes()
    shadow = np.zeros(label.shape, bool)
    shadow[:, 4:] = (label[:, :-4] == 3) & (label[:, 4:] != 3)
    shadow[:, :4] = False
    depth = np.where(shadow, 0.0, depth)
    restored = _restore(depth)
    assert shadow.sum() > 200
    assert (restored[shadow] == 0).all()


def test_large_holes_and_holes_at_the_border_stay() -> None:
    depth = plane_depth(NORMAL, 0.7)
    depth[100:140, 100:140] = 0
    depth[0:10, 300:310] = 0
    restored = _restore(depth)
    assert (restored[100:140, 100:140] == 0).all()
    assert (restored[0:10, 300:310] == 0).all()


def test_filled_depth_stays_within_the_range_of_the_rim() -> None:
    rim = plane_depth(NORMAL, 0.7).astype(np.float32)
    rim[200:215, 300:315] = 0
    filled = fill_holes(rim, INTRINSICS, ClassicalConfig())[200:215, 300:315]
    around = rim[198:217, 298:317]
    around = around[around > 0]
    assert around.min() <= filled.min()
    assert filled.max() <= around.max()


def test_specks_in_the_air_are_removed() -> None:
    depth = plane_depth(NORMAL, 0.7)
    depth[100:102, 100:103] = 0.3
    restored = _restore(depth)
    assert (restored[100:102, 100:103] > 0.5).all()  # and the hole that they leave is filled


@pytest.mark.parametrize("depth", [np.zeros((480, 640)), np.full((480, 640), np.nan)])
def test_frame_without_depth_stays_without(depth: np.ndarray) -> None:
    assert (_restore(depth) == 0).all()


def test_a_real_frame_takes_less_than_40_ms(shared: Path) -> None:
    folder = shared / "real_rgbd"
    depth = load_depth(folder / "input-0.depth.png", 0.0001).astype(np.float32)
    frame = Frame(depth, load_intrinsics(folder / "camera-0.intrinsics.txt", (640, 480)))
    restoration = ClassicalRestoration()
    times = []
    for _ in range(5):
        start = time.thread_time()
        restored = restoration.restore(frame).depth
        times.append(time.thread_time() - start)
    assert min(times) < 0.04
    both = (restored > 0) & (depth > 0)
    assert both.sum() > 0.99 * (depth > 0).sum()
    assert np.median(np.abs(restored - depth)[both]) < 0.001


def test_options_come_from_a_file_and_unknown_ones_are_named(tmp_path: Path) -> None:
    options = tmp_path / "options.yaml"
    options.write_text("{largest_hole: 10, smoothing_radius: 0}")
    assert DEPTH_RESTORATIONS.create("classical", str(options)).config.largest_hole == 10
    options.write_text("{biggest_hole: 10}")
    with pytest.raises(PerceptionError, match="largest_hole"):
        DEPTH_RESTORATIONS.create("classical", str(options))
    with pytest.raises(PerceptionError, match="cannot be read"):
        DEPTH_RESTORATIONS.create("classical", str(tmp_path / "absent.yaml"))
    with pytest.raises(PerceptionError, match="no options"):
        DEPTH_RESTORATIONS.create("none", str(options))


def test_unknown_restoration_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownBackendError, match="classical, none, onnx"):
        DEPTH_RESTORATIONS.create("wishful")
