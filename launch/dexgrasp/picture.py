"""Pictures of grasps: the camera's image with hands in it, and the best grasps from the side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from dexgrasp_common.transforms import look_at
from numpy.typing import NDArray

from dexgrasp.casting import Hands, Image, Surface, cast, view_rays
from dexgrasp_description import HandModel

HEIGHT = 600  # of the picture [px]
HANDS, CLOSE_UPS = 4, 2  # how many are drawn, at most
APART = 0.14  # what two hands that are drawn enclose is at least so far apart [m]

_COLOURS = np.array(  # one for each hand, distinguishable for most colour-blind readers, BGR
    [[22, 146, 240], [222, 150, 60], [120, 168, 20], [180, 110, 205]], dtype=np.float64
)
_GRIP = 0.09  # how far before the palm a hand encloses what it holds [m]
_OPACITY = 0.85  # of hands in the camera's image, so that what they hold shines through
_DISTANCE = 0.38  # of a close-up's eye from what the hand encloses, along the table [m]
_TIPS_WEIGHT = 80.0  # of the share of a close-up that fingertips fill, against the cosine to the camera's direction
_GAP = 6  # between the parts of a picture [px]


def picture(
    color: Image | None,
    depth: NDArray[np.floating],
    matrix: NDArray[np.float64],
    world_T_camera: NDArray[np.float64],
    world_T_palm: NDArray[np.float64],
    joints: NDArray[np.float64],
    hand: HandModel,
) -> Image:
    """The camera's image with the best grasps that are apart from each other, and close-ups of the first two.

    Args:
        color: array (H, W, 3), uint8, BGR; None draws the depth in grey.
        depth: array (H, W) [m]; 0 or NaN is invalid.
        matrix: array (3, 3), pinhole intrinsics [px].
        world_T_camera: array (4, 4); z of `world` points up, the support is at z = 0.
        world_T_palm: array (N, 4, 4), palm poses, best first.
        joints: array (N, D), hand postures [rad].

    Returns:
        array (HEIGHT, W', 3), uint8, BGR.
    """
    image = grey(depth) if color is None else color
    scale = HEIGHT / depth.shape[0]
    shape = (HEIGHT, round(depth.shape[1] * scale))
    chosen = spread(world_T_palm, hand)
    if not chosen:
        return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    surface = Surface(image, depth, matrix, world_T_camera)
    colours = _COLOURS[: len(chosen)]
    hands = Hands(hand, world_T_palm[chosen], joints[chosen], colours)
    larger = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5], [0.0, 0.0, 1.0]])
    whole = cast(view_rays(larger @ matrix, world_T_camera, shape), surface, hands, _OPACITY, image)

    height = (HEIGHT - (CLOSE_UPS - 1) * _GAP) // CLOSE_UPS
    column = np.full((HEIGHT, height * 4 // 3, 3), 255, np.uint8)
    for rank, index in enumerate(chosen[:CLOSE_UPS]):
        one = Hands(hand, world_T_palm[[index]], joints[[index]], colours[[rank]])
        top = rank * (height + _GAP)
        column[top : top + height] = _close_up(surface, one, world_T_palm[index], hand, (height, column.shape[1]))
        corner = column.shape[1] - 1, top + height - 1
        cv2.rectangle(column, (0, top), corner, colours[rank].tolist(), 4)
    return np.concatenate([whole, np.full((HEIGHT, _GAP, 3), 255, np.uint8), column], axis=1)


def spread(world_T_palm: NDArray[np.float64], hand: HandModel) -> list[int]:
    """Indices of the best grasps (N, 4, 4) that enclose different places, best first."""
    chosen: list[int] = []
    grips = np.array([_grip(pose, hand) for pose in world_T_palm]).reshape(-1, 3)
    for index, grip in enumerate(grips):
        if len(chosen) < HANDS and (np.linalg.norm(grips[chosen] - grip, axis=1) >= APART).all():
            chosen.append(index)
    return chosen


def save(path: Path, image: Image) -> None:
    """Write a PNG.

    Raises:
        OSError: The place cannot be written.
    """
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f"Could not write the picture {path}.")


def _close_up(
    surface: Surface, hands: Hands, world_T_palm: NDArray[np.float64], hand: HandModel, shape: tuple[int, int]
) -> Image:
    """One grasp from the side of the hand, where thumb and fingers are seen to oppose each other.

    Of the directions near that, the one from which the camera's side of the object and the most fingertips show.
    """
    grip, across = _grip(world_T_palm, hand), world_T_palm[:3, 1]
    towards_camera = surface.world_T_camera[:3, 3] - grip
    towards_camera /= np.linalg.norm(towards_camera)
    best, most = np.eye(4), -np.inf
    first = np.arctan2(across[1], across[0])
    for azimuth in first + np.radians([-45, -30, -15, 0, 15, 30, 45, 135, 150, 165, 180, 195, 210, 225]):
        away = np.array([np.cos(azimuth), np.sin(azimuth), 0.36])
        world_T_eye = look_at(grip + _DISTANCE * away, grip)
        rays = view_rays(_lens(30, 40), world_T_eye, (30, 40)).reshape(-1, 6)
        distance, _, _, _, on_tip = hands.hit(rays)
        shown = on_tip & (distance < surface.hit(rays)[0])
        score = _TIPS_WEIGHT * shown.mean() + away @ towards_camera
        if score > most:
            best, most = world_T_eye, score
    return cast(view_rays(_lens(*shape), best, shape), surface, hands, 1.0)


def _lens(height: int, width: int) -> NDArray[np.float64]:
    focal = 1.25 * height
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])


def _grip(world_T_palm: NDArray[np.float64], hand: HandModel) -> NDArray[np.float64]:
    return world_T_palm[:3, 3] + _GRIP * world_T_palm[:3, :3] @ hand.approach_axis


def grey(depth: NDArray[np.floating]) -> Image:
    """A depth image (H, W) [m] in grey, near bright, as an image (H, W, 3)."""
    valid = np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth[valid], [1, 99])
    level = np.where(valid, 235 - 150 * np.clip((depth - near) / max(far - near, 1e-6), 0, 1), 0)
    return np.repeat(level[..., None], 3, axis=-1).astype(np.uint8)
