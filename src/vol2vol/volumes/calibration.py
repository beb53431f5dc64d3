"""What the metadata near an array state of its space, wherever they stand: several statements become one.

What nobody states stays open, for the user to say; statements that contradict each other are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.volumes.axes import TOLERANCE, convert, known_unit

NO_UNIT = {"", "none", "null", "pixel", "pixels", "px", "voxel", "voxels", "vx", "unknown", "unitless", "au", "a.u."}
"""Words by which writers say that a number is in no unit of length."""
WORDS = {
    "time": "t",
    "timepoint": "t",
    "channel": "c",
    "channels": "c",
    "depth": "z",
    "height": "y",
    "width": "x",
}
"""Names of axes beyond the letters themselves."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One statement about the space of an array."""

    source: str
    """Where it stands, for messages: "its dimension_names"."""
    axes: str = ""
    """One letter of `tczyx` per stored axis, `?` where it is not stated, `*` where it has a name that is not known;
    empty where no axis is stated."""
    voxel_size: Mapping[str, float] = field(default_factory=dict)
    """Per axis letter, in `unit`."""
    offset: Mapping[str, float] = field(default_factory=dict)
    """Place of the centre of the first voxel per axis letter, in `unit`."""
    unit: str = ""
    """A full word of `METRES`, or "" where it is not stated."""

    @property
    def placeholder(self) -> bool:
        """Say whether its voxel size is 1 along all axes, which writers put where they know nothing."""
        return all(value == 1 for value in self.voxel_size.values())


def letters(names: Iterable[Any]) -> str:
    """Return the axis letters of names: of `Z` or `channel` its own, of None or `dim_0` `?`, of others `*`."""
    return "".join(map(_letter, names))


def _letter(name: Any) -> str:
    word = str(name or "").strip().rstrip("^").lower()
    if not word or re.fullmatch(r"dim_?\d*|axis_?\d*", word):
        return "?"
    word = WORDS.get(word, word)
    return word if word in tuple("tczyx") else "*"


def lengths(values: Mapping[str, float], units: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """Return the spatial of these values in one unit, that of the last axis stated, and that unit.

    A value in a unit that is not known, or in none where others have one, does not count as stated.
    """
    spatial = {a: float(value) for a, value in values.items() if a in "zyx" and isfinite(float(value))}
    words = {a: known_unit(str(units.get(a) or "")) for a in spatial}
    named = [words[a] for a in "xyz" if words.get(a)]
    if not named:
        return {a: v for a, v in spatial.items() if str(units.get(a) or "").strip().lower() in NO_UNIT}, ""
    return {a: convert(v, words[a], named[0]) for a, v in spatial.items() if words[a]}, named[0]


def agree(name: str, statements: Sequence[Calibration], ndim: int) -> Calibration:
    """Return what all statements say together; the earlier of two that say the same counts.

    Raises `BadInput`, naming both, where they contradict each other.
    """
    axes, sized = _axes(name, statements, ndim), [s for s in statements if s.voxel_size]
    sized = [s for s in sized if not s.placeholder] or sized
    for number, one in enumerate(sized):
        for other in sized[:number]:
            if _differ(one, other):
                raise BadInput(
                    f"{name}: the voxel size is {_says(other)} by {other.source}, but {_says(one)} by {one.source}: "
                    "correct one of them"
                )
    sized = [s for s in sized if s.unit] or sized
    unit = sized[0].unit if sized else ""
    size = {a: convert(v, s.unit, unit) for s in reversed(sized) for a, v in s.voxel_size.items()}
    placed = next((s for s in statements if s.offset and (s.unit or not unit)), None)
    offset = {a: convert(v, placed.unit, unit) for a, v in placed.offset.items()} if placed else {}
    return Calibration(source=name, axes=axes, voxel_size=size, offset=offset, unit=unit)


def _axes(name: str, statements: Sequence[Calibration], ndim: int) -> str:
    axes, source = "?" * ndim, ""
    for one in statements:
        if not one.axes:
            continue
        if len(one.axes) != ndim:
            raise BadInput(f"{name} has {ndim} axes, but {one.source} names {len(one.axes)} ({one.axes}): correct it")
        merged = "".join(map(_clearer, axes, one.axes))
        known = [a for a in merged if a not in "?*"]
        if any(a != b and {a, b}.isdisjoint("?*") for a, b in zip(axes, one.axes, strict=True)) or (
            source and len(set(known)) < len(known)
        ):
            raise BadInput(
                f"{name}: its axes are {axes} by {source}, but {one.axes} by {one.source}: correct one of them"
            )
        axes, source = merged, source or one.source
    return axes


def _clearer(one: str, other: str) -> str:
    """Return the letter that says more: one of `tczyx`, else `*`, else `?`."""
    return other if one == "?" or (one == "*" and other != "?") else one


def _differ(one: Calibration, other: Calibration) -> bool:
    """Say whether two voxel sizes contradict each other; where a unit is missing, only their proportions count."""
    shared = [a for a in one.voxel_size if a in other.voxel_size]
    if not shared:
        return False
    factors = [
        convert(one.voxel_size[a], one.unit, other.unit or one.unit) / other.voxel_size[a] if other.voxel_size[a] else 0
        for a in shared
    ]
    if one.unit and other.unit:
        return any(abs(factor - 1) > TOLERANCE for factor in factors)
    return max(factors) - min(factors) > TOLERANCE * max(map(abs, factors))


def _says(one: Calibration) -> str:
    numbers = ", ".join(f"{a} {one.voxel_size[a]:g}" for a in "zyx" if a in one.voxel_size)
    return f"{numbers} {one.unit}".strip()
