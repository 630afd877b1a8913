"""Hands and arms as data: joint order, limits, frames, collision primitives and contact points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from dexgrasp_common.transforms import from_xyz_rpy
from numpy.typing import NDArray

from dexgrasp_description import primitives
from dexgrasp_description.errors import MalformedDescriptionError, UnknownNameError
from dexgrasp_description.primitives import Primitive
from dexgrasp_description.tree import Joint, read_joints

ROBOTS = Path(__file__).parent / "robots"
_COMMON_KEYS = {"name", "kind", "base_link", "joint_names", "limits", "home", "collision"}
# Required and optional keys of a data file.
_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "hand": (
        _COMMON_KEYS | {"approach_axis", "fingertips", "contact_points", "key_points"},
        {"ignored_pairs", "frames"},
    ),
    "arm": (_COMMON_KEYS | {"flange_link", "acceleration_limit"}, {"ignored_pairs", "dh"}),
}
# Of a rule for contact points or key points.
_RULE_KEYS = {
    "contact_points": ({"links", "primitive", "face"}, {"grid", "spacing", "margin", "spread"}),
    "key_points": ({"links", "primitive"}, {"spacing"}),
}
_HIDDEN = 1e-9  # a contact point this deep inside another primitive of its link is not on the outside [m]
Samples = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True, eq=False)
class RobotModel:
    """What hands and arms have in common. Arrays are read-only and in the order of `joint_names`.

    Attributes:
        name: Name in `load_hand` or `load_arm`.
        urdf_path: The robot's URDF file.
        base_link: Root link of the tree.
        links: Every link, base first, parents before children.
        joints: Every joint, fixed ones too, parents before children.
        joint_names: The D moving joints, in the only order used anywhere.
        lower: array (D,), lower position limits [rad or m].
        upper: array (D,), upper position limits [rad or m].
        velocity_limit: array (D,) [rad/s or m/s].
        effort_limit: array (D,) [N m or N].
        home: array (D,), resting posture, free of self-collision.
        collision: The collision primitives.
        ignored_pairs: Pairs of links between which contact is not a collision; parent and child always are.
    """

    name: str
    urdf_path: Path
    base_link: str
    links: tuple[str, ...]
    joints: tuple[Joint, ...]
    joint_names: tuple[str, ...]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    velocity_limit: NDArray[np.float64]
    effort_limit: NDArray[np.float64]
    home: NDArray[np.float64]
    collision: tuple[Primitive, ...]
    ignored_pairs: frozenset[frozenset[str]]

    def primitives_of(self, link: str) -> tuple[Primitive, ...]:
        """The primitives of one link; none where the link has no geometry."""
        return tuple(primitive for primitive in self.collision if primitive.link == link)

    def surface_samples(self, n: int, seed: int = 0) -> Samples:
        """About n points on the outside of the links, uniform by area, the same for the same seed.

        Points inside another primitive of their own link are not on the outside and are left out.

        Args:
            n: Number of points over all links; each link with geometry gets at least one.
            seed: Seed of the draw.

        Returns:
            Link to points (K, 3) [m] and outward normals (K, 3), link frame.
        """
        rng = np.random.default_rng(seed)
        drawn: Samples = {}
        total = sum(primitive.area() for primitive in self.collision)
        density = 8.0 * n / total
        for link in self.links:
            own = self.primitives_of(link)
            if not own:
                continue
            counts = [max(16, round(primitive.area() * density)) for primitive in own]
            batches = [self._exposed(i, own, count, rng) for i, count in enumerate(counts)]
            drawn[link] = (np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches]))
        exposed = sum(len(points) for points, _ in drawn.values())
        samples: Samples = {}
        for link, (points, normals) in drawn.items():
            keep = rng.permutation(len(points))[: max(1, round(len(points) * n / exposed))]
            samples[link] = (points[keep], normals[keep])
        return samples

    @staticmethod
    def _exposed(
        number: int, own: tuple[Primitive, ...], count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        points, normals = own[number].sample_surface(count, rng)
        keep = np.ones(count, dtype=bool)
        for i, other in enumerate(own):
            if i != number:
                keep &= other.signed_distance(points + 1e-6 * normals) > 0.0
            if i < number:
                # Faces that lie in one plane are one surface: the first primitive has it.
                keep &= other.signed_distance(points) > 1e-9
        return points[keep], normals[keep]


@dataclass(frozen=True, eq=False)
class Fingertip:
    """One fingertip.

    Attributes:
        name: Finger name (`index`, `middle`, `ring`, `thumb`; `left`, `right` for grippers).
        link: Link of the tip.
        inner_normal: array (3,), outward normal of the gripping side, link frame.
        centre: array (3,), middle of the tip [m], link frame.
    """

    name: str
    link: str
    inner_normal: NDArray[np.float64]
    centre: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame on a link.

    Attributes:
        link: The link.
        link_T_frame: array (4, 4).
    """

    link: str
    link_T_frame: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HandModel(RobotModel):
    """A hand. Its base link is the frame `palm`.

    Attributes:
        approach_axis: array (3,), unit vector in the palm frame along which the hand approaches an object.
        fingertips: The fingertips.
        contact_points: Link to points (K, 3) [m] and normals (K, 3) of the inner surface, link frame; the normals point
            out of the hand, towards what it holds.
        key_points: Link to spheres (K, 4), centre and radius [m], link frame, for self-collision.
        frames: Frames by which others place this hand, named after them, where it is not the palm.
    """

    approach_axis: NDArray[np.float64]
    fingertips: tuple[Fingertip, ...]
    contact_points: Samples
    key_points: dict[str, NDArray[np.float64]]
    frames: dict[str, Frame]


@dataclass(frozen=True, eq=False)
class ArmModel(RobotModel):
    """An arm.

    Attributes:
        flange_link: Link that carries the tool, z along the approach.
        acceleration_limit: array (D,) [rad/s^2].
        dh: array (6, 3) of standard Denavit-Hartenberg a [m], d [m], alpha [rad] from `base_link` to `flange_link`, for
            arms with a closed-form inverse; None otherwise.
    """

    flange_link: str
    acceleration_limit: NDArray[np.float64]
    dh: NDArray[np.float64] | None


@cache
def load_hand(name: str) -> HandModel:
    """The hand of that name.

    Raises:
        UnknownNameError: There is no such hand.
        MalformedDescriptionError: Its data file is wrong.
    """
    data = _read(name, "hand")
    common = _common(name, data)
    hand = HandModel(
        **common,
        approach_axis=_vector(data, "approach_axis", 3),
        fingertips=tuple(
            Fingertip(tip["name"], tip["link"], _vector(tip, "inner_normal", 3), _vector(tip, "centre", 3))
            for tip in data["fingertips"]
        ),
        contact_points=_contact_points(data["contact_points"], common["collision"]),
        key_points=_key_points(data["key_points"], common["collision"]),
        frames={key: _frame(entry) for key, entry in data.get("frames", {}).items()},
    )
    named = [tip.link for tip in hand.fingertips] + list(hand.contact_points) + list(hand.key_points)
    named += [frame.link for frame in hand.frames.values()]
    _check_links(name, named, hand.links)
    return hand


@cache
def load_arm(name: str) -> ArmModel:
    """The arm of that name.

    Raises:
        UnknownNameError: There is no such arm.
        MalformedDescriptionError: Its data file is wrong.
    """
    data = _read(name, "arm")
    common = _common(name, data)
    arm = ArmModel(
        **common,
        flange_link=data["flange_link"],
        acceleration_limit=_vector(data, "acceleration_limit", len(common["joint_names"])),
        dh=_frozen(data["dh"]) if "dh" in data else None,
    )
    _check_links(name, [arm.flange_link], arm.links)
    return arm


def names(kind: str) -> tuple[str, ...]:
    """Names of every `hand` or `arm`."""
    files = sorted(ROBOTS.glob("*.yaml"))
    return tuple(path.stem for path in files if yaml.safe_load(path.read_text())["kind"] == kind)


def _read(name: str, kind: str) -> dict[str, Any]:
    path = ROBOTS / f"{name}.yaml"
    data = yaml.safe_load(path.read_text()) if path.is_file() else None
    if data is None or data.get("kind") != kind:
        raise UnknownNameError(f"Unknown {kind} {name!r}. Valid names: {', '.join(names(kind))}.")
    required, optional = _KEYS[kind]
    missing, unknown = required - set(data), set(data) - required - optional
    if missing or unknown:
        raise MalformedDescriptionError(
            f"{path.name}: missing keys: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown keys: {', '.join(sorted(unknown)) or 'none'}."
        )
    return data


def _common(name: str, data: dict[str, Any]) -> dict[str, Any]:
    urdf_path = ROBOTS / f"{name}.urdf"
    joints = read_joints(urdf_path)
    base_link = data["base_link"]
    links = (joints[0].parent, *(joint.child for joint in joints))
    if links[0] != base_link:
        raise MalformedDescriptionError(f"{name}: base_link is {base_link!r}, but the URDF starts at {links[0]!r}.")
    joint_names = tuple(data["joint_names"])
    moving = {joint.name for joint in joints if joint.kind != "fixed"}
    if set(joint_names) != moving or len(joint_names) != len(moving):
        raise MalformedDescriptionError(f"{name}: joint_names must be the URDF's moving joints {sorted(moving)}.")
    count = len(joint_names)
    limits = data["limits"]
    collision = tuple(primitives.parse(link, entry) for link, entries in data["collision"].items() for entry in entries)
    _check_links(name, [primitive.link for primitive in collision], links)
    pairs = {frozenset((joint.parent, joint.child)) for joint in joints}
    for pair in data.get("ignored_pairs", []):
        _check_links(name, pair, links)
        pairs.add(frozenset(pair))
    return {
        "name": name,
        "urdf_path": urdf_path,
        "base_link": base_link,
        "links": links,
        "joints": joints,
        "joint_names": joint_names,
        "lower": _vector(limits, "lower", count),
        "upper": _vector(limits, "upper", count),
        "velocity_limit": _vector(limits, "velocity", count),
        "effort_limit": _vector(limits, "effort", count),
        "home": _vector(data, "home", count),
        "collision": collision,
        "ignored_pairs": frozenset(pairs),
    }


def _contact_points(rules: list[dict[str, Any]], collision: tuple[Primitive, ...]) -> Samples:
    """Grids on faces. What lies inside another primitive of the link is left out."""
    found: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for rule in rules:
        for link, own, number in _ruled("contact_points", rule, collision):
            face, margin, spread = rule["face"], rule.get("margin", 0.0), rule.get("spread", 0.0)
            if ("grid" in rule) == ("spacing" in rule):
                raise MalformedDescriptionError(f"Contact points need either a grid or a spacing; got {rule}.")
            if "grid" in rule:
                rows, columns = rule["grid"]
            else:
                rows, columns = own[number].grid_shape(face, rule["spacing"], margin, spread)
            points, normals = own[number].face_grid(face, (rows, columns), margin, spread)
            outside = np.ones(len(points), dtype=bool)
            for i, other in enumerate(own):
                if i != number:
                    outside &= other.signed_distance(points) > -_HIDDEN
            found.setdefault(link, []).append((points[outside], normals[outside]))
    return {
        link: (_frozen(np.concatenate([p for p, _ in patches])), _frozen(np.concatenate([n for _, n in patches])))
        for link, patches in found.items()
    }


def _key_points(
    entries: dict[str, Any] | list[dict[str, Any]], collision: tuple[Primitive, ...]
) -> dict[str, NDArray[np.float64]]:
    """Spheres that are listed by link, or the spheres inside the primitives that rules name."""
    if isinstance(entries, dict):
        return {link: _frozen(spheres) for link, spheres in entries.items()}
    found: dict[str, list[NDArray[np.float64]]] = {}
    for rule in entries:
        for link, own, number in _ruled("key_points", rule, collision):
            found.setdefault(link, []).append(own[number].inner_spheres(rule.get("spacing")))
    return {link: _frozen(np.concatenate(spheres)) for link, spheres in found.items()}


def _ruled(
    what: str, rule: dict[str, Any], collision: tuple[Primitive, ...]
) -> Iterator[tuple[str, list[Primitive], int]]:
    """The links of a rule, each with its primitives and the number of the one that is meant."""
    required, optional = _RULE_KEYS[what]
    if not required <= set(rule) <= required | optional:
        raise MalformedDescriptionError(
            f"A rule of {what} has the keys {', '.join(sorted(required))}, and may have "
            f"{', '.join(sorted(optional))}; got {rule}."
        )
    if not rule.get("spacing", 1.0) > 0.0:
        raise MalformedDescriptionError(f"The spacing of {what} must be positive [m]; got {rule}.")
    for link in rule["links"]:
        own = [primitive for primitive in collision if primitive.link == link]
        if not 0 <= rule["primitive"] < len(own):
            raise MalformedDescriptionError(
                f"A rule of {what} names primitive {rule['primitive']} of link {link!r}, which has {len(own)}."
            )
        yield link, own, rule["primitive"]


def _frame(entry: dict[str, Any]) -> Frame:
    if not {"link"} <= set(entry) <= {"link", "at", "rpy"}:
        raise MalformedDescriptionError(f"A frame needs a link, and may have at and rpy; got {entry}.")
    at, rpy = (_vector(entry, key, 3) if key in entry else np.zeros(3) for key in ("at", "rpy"))
    return Frame(entry["link"], _frozen(from_xyz_rpy(at, rpy)))


def _check_links(name: str, wanted: list[str], links: tuple[str, ...]) -> None:
    for link in wanted:
        if link not in links:
            raise MalformedDescriptionError(f"{name}: link {link!r} does not exist. Links: {list(links)}")


def _vector(data: dict[str, Any], key: str, count: int) -> NDArray[np.float64]:
    if key not in data:
        raise MalformedDescriptionError(f"Missing key {key!r} ({count} numbers).")
    values = _frozen(data[key])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise MalformedDescriptionError(f"{key} needs {count} finite numbers; got {data[key]}.")
    return values


def _frozen(values: Any) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
