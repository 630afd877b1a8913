"""The authors' checkpoints, on a state dict made up with exactly their names and shapes."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from dexgrasp_planner.network.grasp_network import GraspNetwork
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2.checkpoint import OUTPUTS, import_checkpoint
from torch import Tensor

from dexgrasp_description import load_hand

HAND = load_hand("leap_right")


@pytest.fixture(scope="module")
def theirs() -> OrderedDict[str, Tensor]:
    """222 entries: backbone, scores, the diffusion's MLP under two names, joints, and two buffers that nothing uses."""
    torch.manual_seed(0)
    entries: OrderedDict[str, Tensor] = OrderedDict()
    for name, value in GraspNetwork(16).state_dict().items():
        own = name.removeprefix("head.")
        entries[own] = torch.randn_like(value) if value.is_floating_point() else value
        if own.startswith("policy."):
            entries["diffusion.model." + own.removeprefix("policy.")] = entries[own]
    entries["mean"], entries["std"] = torch.zeros(28), torch.ones(28)
    return entries


def written(entries: dict[str, Tensor], path: Path) -> Path:
    torch.save({"model": OrderedDict(entries), "optimizer": {"state": {}}, "iter": 50000}, path)
    return path


def test_every_entry_finds_its_place(theirs: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    assert len(theirs) == 222
    assert theirs["backbone.conv0p1s1.kernel"].shape == (125, 3, 32)
    checkpoint = import_checkpoint(written(theirs, tmp_path / "ckpt_50000.pth"))
    network = checkpoint.make(HAND)
    assert sum(p.numel() for p in network.parameters()) == 15_102_847
    assert torch.equal(network.backbone.final.kernel, theirs["backbone.final.kernel"])
    last = network.state_dict()["head.joint_mlp.net.final_layer.weight"]
    for row, name in enumerate(HAND.joint_names):
        assert torch.equal(last[row], theirs["joint_mlp.net.final_layer.weight"][OUTPUTS.index(name)])
    assert torch.equal(last[12], theirs["joint_mlp.net.final_layer.weight"][0])  # the thumb comes first with them


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("graspable.bias"), "lacks entries: graspable.bias"),
        (lambda e: e.update(magic=torch.zeros(3)), "'magic'"),
        (lambda e: e.update({"backbone.magic": torch.zeros(3)}), "unknown entries: backbone.magic"),
        (lambda e: e.update({"graspable.bias": torch.zeros(4)}), "misshapen entries: graspable.bias"),
        (lambda e: e.update({"diffusion.model.mlp.linear2.bias": torch.ones(12)}), "repeat"),
    ],
)
def test_entries_that_do_not_fit_are_errors(theirs, tmp_path: Path, change, message: str) -> None:
    entries = dict(theirs)
    change(entries)
    with pytest.raises(FormatError, match=message):
        import_checkpoint(written(entries, tmp_path / "ckpt.pth"))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"model": Trap()}, tmp_path / "ckpt.pth")
    with pytest.raises(FormatError, match="more than numbers"):
        import_checkpoint(tmp_path / "ckpt.pth")
    assert not (tmp_path / "sprung").exists()


def test_files_that_are_no_checkpoint_are_named(theirs, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        import_checkpoint(tmp_path / "nothing.pth")
    path = written(theirs, tmp_path / "short.pth")
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(FormatError, match="damaged"):
        import_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(FormatError, match="no state dict"):
        import_checkpoint(path)
