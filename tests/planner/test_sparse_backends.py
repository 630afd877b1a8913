"""What every backend of the sparse convolution does alike."""

from __future__ import annotations

import pytest
import torch
from dexgrasp_common.registry import UnavailableBackendError, UnknownBackendError
from dexgrasp_planner.network.backends import SPARSE_CONVOLUTIONS
from dexgrasp_planner.network.resunet import ResUNet14, ResUNetConfig
from dexgrasp_planner.network.voxels import Voxels

from .sparse_grids import dense_convolution, random, scene

TINY = ResUNetConfig(initial=4, planes=(4, 6, 8, 8, 6, 6, 4, 4), out_channels=5)
BACKENDS = dict(SPARSE_CONVOLUTIONS)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    missing = BACKENDS[name].missing()
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}, which is not here: {BACKENDS[name].install}")
    return name


@pytest.fixture(scope="module")
def voxels() -> Voxels:
    return scene()


def network(backend: str) -> ResUNet14:
    torch.manual_seed(0)
    return ResUNet14(TINY, backend)


def test_a_seed_gives_the_same_network(backend: str) -> None:
    own, default = network(backend).state_dict(), network("").state_dict()
    assert list(own) == list(default)
    assert all(torch.equal(own[name], default[name]) for name in own)


@pytest.mark.parametrize("train", [False, True])
def test_features_are_those_of_the_default_backend(backend: str, voxels: Voxels, train: bool) -> None:
    own, default = (network(name).double().train(train) for name in (backend, ""))
    with torch.no_grad():
        torch.testing.assert_close(own(voxels), default(voxels))


def test_gradients_are_those_of_the_default_backend(backend: str, voxels: Voxels) -> None:
    own, default = (network(name).double() for name in (backend, ""))
    for net in (own, default):
        (net(voxels) * random(len(voxels), 5)).sum().backward()
    for (name, first), second in zip(own.named_parameters(), default.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, msg=name)


def test_a_layer_is_the_dense_convolution(backend: str, voxels: Voxels) -> None:
    layers = SPARSE_CONVOLUTIONS.create(backend)
    layer = layers.convolution(4, 3, kernel_size=3).double()
    given = layers.sparse(random(len(voxels), 4), voxels)
    with torch.no_grad():
        result = layers.dense(layer(given), given)
        expected = dense_convolution(random(len(voxels), 4), layer.kernel, voxels.coordinates, stride=1, size=3)
    torch.testing.assert_close(result, expected)


def test_what_is_not_installed_says_so() -> None:
    if not BACKENDS["minkowski"].missing():
        pytest.skip("MinkowskiEngine is installed")
    with pytest.raises(UnavailableBackendError, match=r"needs MinkowskiEngine, which is not here.*build"):
        ResUNet14(TINY, "minkowski")


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(UnknownBackendError, match="minkowski, torch"):
        ResUNet14(TINY, "spconv")
