"""With a network of three operations, whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from dexgrasp_perception.errors import PerceptionError
from dexgrasp_perception.frame import Frame

from dexgrasp_perception import DEPTH_RESTORATIONS

from .scenes import INTRINSICS

onnx = pytest.importorskip("onnx", reason="onnx, which makes the tiny test network, is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

OPTIONS = """
model: net.onnx
inputs:
  image: {from: color, scale: 0.00392156862745098, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  raw: {from: depth}
depth: restored
confidence: certainty
"""


def _write_network(path: Path, height: object = "h", width: object = "w") -> None:
    """restored = raw + mean over channels of image; certainty = raw * raw."""
    from onnx import TensorProto, helper

    def tensor(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, height, width])

    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["gray"], keepdims=1),
        helper.make_node("Add", ["raw", "gray"], ["restored"]),
        helper.make_node("Mul", ["raw", "raw"], ["certainty"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [tensor("image", 3), tensor("raw", 1)],
        [tensor("restored", 1), tensor("certainty", 1)],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(path))


def _frame(color: bool = True) -> Frame:
    depth = np.full((480, 640), 0.5, np.float32)
    depth[:10] = 0
    rgb = np.full((480, 640, 3), 255, np.uint8)
    rgb[:, 320:] = 0
    return Frame(depth, INTRINSICS, rgb if color else None)


def _create(folder: Path, options: str = OPTIONS) -> object:
    (folder / "options.yaml").write_text(options)
    return DEPTH_RESTORATIONS.create("onnx", str(folder / "options.yaml"))


def test_network_gets_the_inputs_that_its_options_describe(tmp_path: Path) -> None:
    _write_network(tmp_path / "net.onnx")
    restoration = _create(tmp_path)
    assert restoration.needs == {"color"}
    restored = restoration.restore(_frame())
    assert np.allclose(restored.depth[20:, :320], 1.5)  # white is (1 - 0.5) / 0.5 = 1
    assert (restored.depth[20:, 320:] == 0).all()  # black is -1, and a negative depth is none
    assert np.allclose(restored.confidence[20:], 0.25)


def test_images_are_resized_to_what_the_network_wants_and_back(tmp_path: Path) -> None:
    _write_network(tmp_path / "net.onnx", 120, 160)
    restored = _create(tmp_path, OPTIONS + "size: [160, 120]\n").restore(_frame())
    assert restored.depth.shape == (480, 640)
    assert np.allclose(restored.depth[20:, :316], 1.5)


def test_frame_without_colour_is_refused(tmp_path: Path) -> None:
    _write_network(tmp_path / "net.onnx")
    with pytest.raises(PerceptionError, match="needs color images"):
        _create(tmp_path).restore(_frame(color=False))


def test_network_of_another_size_fails_with_an_error(tmp_path: Path) -> None:
    _write_network(tmp_path / "net.onnx", 120, 160)
    with pytest.raises(PerceptionError, match="network failed"):
        _create(tmp_path).restore(_frame())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("net.onnx", "absent.onnx"), "no ONNX file"),
        (("raw: {", "other: {"), r"has the inputs \['image', 'raw'\]"),
        (("restored", "depth_out"), "has the outputs"),
        (("from: depth", "from: lidar"), "must have `from`"),
    ],
)
def test_options_that_do_not_fit_the_network_are_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    _write_network(tmp_path / "net.onnx")
    with pytest.raises(PerceptionError, match=message):
        _create(tmp_path, OPTIONS.replace(*change))


def test_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    with pytest.raises(PerceptionError, match="cannot load"):
        _create(tmp_path)


def test_options_file_is_needed() -> None:
    with pytest.raises(PerceptionError, match="needs an options file"):
        DEPTH_RESTORATIONS.create("onnx")
