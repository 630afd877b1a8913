"""An object at rest on a table, and which hands can come to it there.

Grasps made in free space are mostly of no use in a scene: of an object that lies flat, only those can be carried out
that come from above. So a share of the attempts is drawn for the object at rest.
"""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.table import ClearanceConfig, above_table

DRAWS = 5  # palm poses drawn for each that is wanted, so that enough of them come to the object from above
_MOST = 24  # resting poses; a ball has as many as its mesh has faces
_RARE = 0.05  # a resting pose less likely than this share of the likeliest is left out


class Resting:
    """One object on a table, in each of its resting poses, and one hand.

    Attributes:
        world_T_object: array (K, 4, 4), the table is the plane z = 0.
        chance: array (K,), of each pose, if the object is dropped in any orientation; their sum is 1.
    """

    def __init__(self, hand: HandModel, asset: ObjectAsset, config: ClearanceConfig | None = None) -> None:
        self._hand, self._config = hand, config or ClearanceConfig()
        poses, chance = trimesh.poses.compute_stable_poses(asset.model.mesh, center_mass=np.zeros(3))
        order = np.argsort(-chance, kind="stable")[:_MOST]
        order = order[chance[order] >= _RARE * chance[order[0]]]
        self.world_T_object: NDArray[np.float64] = np.asarray(poses, dtype=np.float64)[order]
        self.chance: NDArray[np.float64] = chance[order] / chance[order].sum()
        arrays = hand_arrays(hand)
        self._palm = arrays.points[: arrays.point_start[arrays.patch_start[1]]]

    def preferred(self, object_T_palm: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Rows (count,) of the palm poses (N, 4, 4), N >= count: first those whose palm is above the table.

        Each is looked at in one resting pose, drawn by chance, there and on its way.
        """
        pose = self.world_T_object[rng.choice(len(self.chance), size=len(object_T_palm), p=self.chance)]
        up = np.einsum("nj,njk->nk", pose[:, 2], object_T_palm)
        lowest = (up[:, :3] @ self._palm.T).min(axis=1, initial=np.inf) + up[:, 3]
        lowest += np.minimum(-self._config.approach * (up[:, :3] @ self._hand.approach_axis), 0.0)
        return np.argsort(lowest < self._config.pregrasp_margin, kind="stable")[:count]

    def usable(
        self, object_T_palm: NDArray[np.float64], pregrasp: NDArray[np.float64], grasp: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How often N grasps keep the hand above the table, if the object comes to rest by chance: (N,), 0 to 1.

        Args:
            object_T_palm: array (N, 4, 4).
            pregrasp, grasp: arrays (N, D) [rad or m].
        """
        result = np.zeros(len(grasp))
        for world_T_object, chance in zip(self.world_T_object, self.chance, strict=True):
            palm = np.ascontiguousarray(world_T_object @ object_T_palm)
            result += chance * above_table(self._hand, palm, pregrasp, grasp, self._config)
        return result
