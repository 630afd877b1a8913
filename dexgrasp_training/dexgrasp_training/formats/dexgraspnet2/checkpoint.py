"""The authors' trained networks as checkpoints of ours."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from torch import Tensor

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.errors import FormatError

HAND = "leap_right"
# Their robot model walks the tree of links depth first: thumb, index, ring, middle, each from the palm outwards.
OUTPUTS = ("j12", "j13", "j14", "j15", "j1", "j0", "j2", "j3", "j9", "j8", "j10", "j11", "j5", "j4", "j6", "j7")
_SAME = ("backbone.", "graspable.")
_HEAD = ("policy.", "joint_mlp.")  # ours stand under `head`
_TWICE = "diffusion.model."  # holds the tensors of `policy` again
_UNUSED = {"mean": (28,), "std": (28,)}  # zeros and ones


def import_checkpoint(path: Path) -> Checkpoint:
    """Read `ckpt_50000.pth` (a state dict of 222 entries under `model`).

    Its joints are put into the order of our hand; nothing is left over and nothing is missing.

    Raises:
        FormatError: It cannot be read without running code in it, or its entries are not those of the network.
    """
    theirs = _read(path)
    hand = load_hand(HAND)
    weights: dict[str, Tensor] = {}
    for name, value in theirs.items():
        if name.startswith(_SAME):
            weights[name] = value
        elif name.startswith(_HEAD):
            weights[f"head.{name}"] = value
        elif name.startswith(_TWICE):
            again = theirs.get("policy." + name.removeprefix(_TWICE))
            if again is None or not torch.equal(again, value):
                raise FormatError(
                    f"{path.name}: {name} is not what it should repeat; it is no DexGraspNet 2.0 network."
                )
        elif tuple(value.shape) != _UNUSED.get(name):
            raise FormatError(f"{path.name} has an entry {name!r} that the network does not know.")
    _reorder(weights, hand)
    network = NetworkConfig(backbone="paper")
    _check(path, weights, GraspNetwork(len(hand.joint_names), network))
    return Checkpoint(
        hand.name, tuple(hand.joint_names), network, weights, {"source": f"DexGraspNet 2.0's release, {path.name}"}
    )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error}.") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(f"{path} is damaged, or holds more than numbers ({reason}); get it again.") from error
    entries = content.get("model") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(value, Tensor) for value in entries.values()):
        raise FormatError(f"{path} holds no state dict under 'model'; give the release's ckpt_50000.pth.")
    return entries


def _reorder(weights: dict[str, Tensor], hand: HandModel) -> None:
    rows = [OUTPUTS.index(name) for name in hand.joint_names]
    for end in ("weight", "bias"):
        name = f"head.joint_mlp.net.final_layer.{end}"
        if name in weights and len(weights[name]) == len(rows):
            weights[name] = weights[name][rows]


def _check(path: Path, weights: dict[str, Tensor], network: GraspNetwork) -> None:
    ours = network.state_dict()
    missing, unknown = sorted(set(ours) - set(weights)), sorted(set(weights) - set(ours))
    misshapen = sorted(name for name in set(ours) & set(weights) if ours[name].shape != weights[name].shape)
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has misshapen", misshapen)):
        if names:
            raise FormatError(f"{path.name} {what} entries: {', '.join(names[:5])}{', ...' if names[5:] else ''}.")
