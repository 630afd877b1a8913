"""The swappable sparse convolutions: what the backbone is built of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dexgrasp_common.registry import Backend, Registry

if TYPE_CHECKING:  # to list the backends must not take PyTorch's seconds
    from torch import Tensor, nn

    from dexgrasp_planner.network.voxels import Voxels


class SparseLayers(Protocol):
    """Layers of one backend. Whatever it takes for sparse features goes through its own layers only.

    Modules have MinkowskiEngine's parameters: `kernel` (k^3, in, out), or (in, out) for k = 1, `bias` (1, out), and
    those of a `torch.nn.BatchNorm1d` named `bn`; so every backend reads the others' state dicts.
    """

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = False
    ) -> nn.Module:
        """An odd kernel with stride 1, or size 2 with stride 2."""
        ...

    def transposed_convolution(self, in_channels: int, out_channels: int) -> nn.Module:
        """Size 2 and stride 2, onto the voxels from which the input's were made."""
        ...

    def batch_norm(self, channels: int) -> nn.Module:
        """Over all voxels of a batch."""
        ...

    def relu(self, x: Any) -> Any:
        """Of every feature."""
        ...

    def concatenate(self, first: Any, second: Any) -> Any:
        """Channels of two features of the same voxels, one after the other. Their sum is `first + second`."""
        ...

    def sparse(self, rows: Tensor, voxels: Voxels) -> Any:
        """Sparse features of the backend from a tensor (V, C) in the order of the voxels."""
        ...

    def ones(self, channels: int, voxels: Voxels, like: Tensor) -> Any:
        """Sparse features that are all 1, of the type and on the device of `like`."""
        ...

    def dense(self, x: Any, like: Any) -> Tensor:
        """A tensor (V, C) in the order of the voxels; `like` is what `sparse` or `ones` returned for them."""
        ...


# Factories take no arguments and return SparseLayers.
SPARSE_CONVOLUTIONS = Registry(
    "sparse convolution",
    {
        "torch": Backend("dexgrasp_planner.network.sparse_conv:TorchLayers", summary="plain PyTorch, CPU or CUDA"),
        "minkowski": Backend(
            "dexgrasp_planner.network.minkowski:MinkowskiLayers",
            requires=("MinkowskiEngine",),
            install="build MinkowskiEngine 0.5.4 for your PyTorch (https://github.com/NVIDIA/MinkowskiEngine)",
            summary="MinkowskiEngine 0.5.4",
        ),
    },
    default="torch",
)
