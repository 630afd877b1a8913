"""Somebody else's restoration network, as an ONNX file run by onnxruntime.

The options file names its tensors (README: "A network of your own"):

    model: network.onnx               # relative to this file
    size: [320, 240]                  # width, height of its images; leave out to feed the camera's own size
    inputs:
      image: {from: color, scale: 0.0039215686, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
      raw: {from: depth}
    depth: restored                   # output: metres
    confidence: certainty             # output: 0 to 1; leave out where there is none

Inputs are float32 (1, C, H, W): `value * scale`, then minus `mean`, over `std`, for each channel. `from` is one of
color (RGB), depth [m, 0 invalid], infrared_left, infrared_right, or intrinsics (1, 3, 3) [px, of the size fed].
Outputs are (1, 1, H, W), (1, H, W) or (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dexgrasp_perception.errors import PerceptionError
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.restoration import Restored, read_options

_NEEDS = {
    "color": "color",
    "depth": None,
    "infrared_left": "infrared",
    "infrared_right": "infrared",
    "intrinsics": None,
}


@dataclass(frozen=True)
class OnnxConfig:
    """Options of the ONNX restoration; the module's docstring shows a file.

    Attributes:
        model: Path of the network, relative to the options file.
        inputs: Input tensor name to where its values come from.
        depth: Name of the depth output.
        confidence: Name of the confidence output, or "".
        size: Width and height [px] that the network wants; empty for the camera's own.
    """

    model: str = ""
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    depth: str = ""
    confidence: str = ""
    size: tuple[int, ...] = ()


class OnnxRestoration:
    """Runs one network.

    Raises:
        PerceptionError: The file is missing or no network, or its tensors are not those named in the options.
    """

    def __init__(self, config: OnnxConfig, folder: Path) -> None:
        import onnxruntime

        path = folder / config.model
        if not config.model or not path.is_file():
            raise PerceptionError(f"There is no ONNX file {path}; set `model` in the restoration options.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no base class
            raise PerceptionError(f"onnxruntime cannot load {path}: {error}") from error
        self.config = config
        has_inputs = [tensor.name for tensor in self._session.get_inputs()]
        has_outputs = [tensor.name for tensor in self._session.get_outputs()]
        if sorted(has_inputs) != sorted(config.inputs):
            raise PerceptionError(f"{path} has the inputs {has_inputs}; the options describe {list(config.inputs)}.")
        wanted = [name for name in (config.depth, config.confidence) if name]
        if not config.depth or not set(wanted) <= set(has_outputs):
            raise PerceptionError(f"{path} has the outputs {has_outputs}; the options name {wanted}.")
        for name, spec in config.inputs.items():
            if spec.get("from") not in _NEEDS or not set(spec) <= {"from", "scale", "mean", "std"}:
                raise PerceptionError(
                    f"Input {name!r} must have `from` ({', '.join(_NEEDS)}) and may have scale, mean, std; got {spec}."
                )
        self._outputs = wanted
        self.needs = frozenset(need for spec in config.inputs.values() if (need := _NEEDS[spec["from"]]) is not None)

    def restore(self, frame: Frame) -> Restored:
        for need in sorted(self.needs):
            if getattr(frame, need) is None:
                raise PerceptionError(f"The network needs {need} images, and this camera delivers none.")
        height, width = frame.depth.shape
        size = (self.config.size[0], self.config.size[1]) if self.config.size else (width, height)
        feeds = {name: _tensor(spec, frame, size) for name, spec in self.config.inputs.items()}
        try:
            outputs = self._session.run(self._outputs, feeds)
        except Exception as error:  # as above
            raise PerceptionError(f"The restoration network failed: {error}") from error
        images = [_image(name, values, size) for name, values in zip(self._outputs, outputs, strict=True)]
        if size != (width, height):
            images = [np.asarray(cv2.resize(i, (width, height), interpolation=cv2.INTER_NEAREST)) for i in images]
        depth = np.where(np.isfinite(images[0]) & (images[0] > 0), images[0], np.float32(0))
        return Restored(depth, images[1] if len(images) > 1 else None)


def create(options_file: str = "") -> OnnxRestoration:
    """The factory in `DEPTH_RESTORATIONS`.

    Raises:
        PerceptionError: See `OnnxRestoration`; or no options file.
    """
    if not options_file:
        raise PerceptionError("Depth restoration 'onnx' needs an options file that names the network and its tensors.")
    return OnnxRestoration(read_options(options_file, OnnxConfig), Path(options_file).parent)


def _image(name: str, values: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    image = np.asarray(values, dtype=np.float32)
    if image.shape[-2:] != (size[1], size[0]) or image.size != size[0] * size[1]:
        raise PerceptionError(f"Output {name!r} has shape {image.shape}; one image of {size} was expected.")
    return image.reshape(size[1], size[0])


def _tensor(spec: dict[str, Any], frame: Frame, size: tuple[int, int]) -> NDArray[np.float32]:
    source = spec["from"]
    width, height = frame.intrinsics.width, frame.intrinsics.height
    if source == "intrinsics":
        scaled = np.diag([size[0] / width, size[1] / height, 1.0]) @ frame.intrinsics.matrix
        return scaled[None].astype(np.float32)
    image: Any
    if source == "depth":
        # Nearest: an average over an edge or a hole is a depth that nothing has.
        image, interpolation = frame.depth, cv2.INTER_NEAREST
    elif source == "color":
        image, interpolation = frame.color, cv2.INTER_AREA
    else:
        image, interpolation = frame.infrared[source == "infrared_right"], cv2.INTER_AREA  # type: ignore[index]
    if size != (width, height):
        image = cv2.resize(image, size, interpolation=interpolation)
    values: NDArray[Any] = np.asarray(image, dtype=np.float32) * np.float32(spec.get("scale", 1.0))
    values = (values - np.float32(spec.get("mean", 0.0))) / np.float32(spec.get("std", 1.0))
    channels = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    return np.ascontiguousarray(channels[None], dtype=np.float32)
