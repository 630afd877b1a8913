"""A run's averaged weights as a folder that can be shipped: half the size, with what they have learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from dexgrasp_planner.checkpoints import SCENE, Checkpoint, StoredNetwork, network_config
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_network import stored_config

from dexgrasp_training.errors import DatasetError
from dexgrasp_training.fit.fitting import load_state

_KINDS: dict[str, Any] = {
    Checkpoint.KIND: (Checkpoint, network_config),
    ObjectCheckpoint.KIND: (ObjectCheckpoint, stored_config),
}


def export_run(run: Path, target: Path) -> StoredNetwork[Any, Any]:
    """Write the averaged weights that a run last saved, whether it has ended or not.

    Args:
        run: Folder of the run.
        target: Folder to write.

    Raises:
        DatasetError: There is no run, or its state is damaged.
    """
    state = load_state(run, torch.device("cpu"))
    try:
        stored, config = _KINDS[state.get("kind", SCENE)]
        checkpoint: StoredNetwork[Any, Any] = stored(
            state["hand"],
            tuple(state["joint_names"]),
            config(state["fixed"]["network"]),
            state["average"],
            state["about"],
        )
    except (KeyError, TypeError) as error:
        raise DatasetError(f"The state in {run} is of another version ({error!r}); train with this one.") from error
    checkpoint.save(target, half=True)
    return checkpoint
