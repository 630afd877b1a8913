"""Trained object-level networks as folders, in the format of `checkpoints`."""

from __future__ import annotations

from typing import Any

from dexgrasp_description import HandModel
from dexgrasp_planner.checkpoints import StoredNetwork
from dexgrasp_planner.object_level.object_features import OBJECT_FEATURES
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, ObjectNetworkConfig, stored_config


class ObjectCheckpoint(StoredNetwork[ObjectNetworkConfig, ObjectGraspNetwork]):
    """A network that proposes grasps of one object."""

    KIND = "object"
    TRAINED_BY = "dexgrasp-train fit-objects"
    KNOWN_FEATURES = OBJECT_FEATURES

    @staticmethod
    def _config(entries: dict[str, Any]) -> ObjectNetworkConfig:
        return stored_config(entries)

    def make(self, hand: HandModel) -> ObjectGraspNetwork:
        """The network with these weights, in evaluation mode.

        Raises:
            CheckpointError: It was made for another hand, or weights are missing, superfluous or of another shape.
        """
        return self._filled(hand, lambda: ObjectGraspNetwork(self.network))
