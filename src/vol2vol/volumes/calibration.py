"""Merge the statements of metadata about the axes and voxel size of an array, wherever they are stored.

What no metadata state, the user has to; statements that contradict each other are refused.
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
    """Where it was read, for messages: "its dimension_names"."""
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
    """Return one letter per axis name: `Z` gives z, `channel` c, None and `dim_0` `?`, other names `*`."""
    return "".join(map(_letter, names))


def _letter(name: Any) -> str:
    word = str(name or "").strip().rstrip("^").lower()
    if not word or re.fullmatch(r"dim_?\d*|axis_?\d*", word):
        return "?"
    word = WORDS.get(word, word)
    return word if word in tuple("tczyx") else "*"


def lengths(values: Mapping[str, float], units: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """Return the spatial values in one unit, that of x (else y, else z), and that unit.

    Values in an unknown unit, and values without a unit where others have one, count as not stated.
    """
    spatial = {a: float(value) for a, value in values.items() if a in "zyx" and isfinite(float(value))}
    words = {a: known_unit(str(units.get(a) or "")) for a in spatial}
    named = [words[a] for a in "xyz" if words.get(a)]
    if not named:
        return {a: v for a, v in spatial.items() if str(units.get(a) or "").strip().lower() in NO_UNIT}, ""
    return {a: convert(v, words[a], named[0]) for a, v in spatial.items() if words[a]}, named[0]


def agree(name: str, statements: Sequence[Calibration], ndim: int) -> Calibration:
    """Return the merged statements; of two that state the same, the earlier one counts.

    Raises `BadInput`, naming both, where they contradict each other.
    """
    axes, sized = _axes(name, statements, ndim), [s for s in statements if s.voxel_size]
    sized = [s for s in sized if not s.placeholder] or sized
    for number, statement in enumerate(sized):
        for other in sized[:number]:
            if _differ(statement, other):
                raise BadInput(
                    f"{name}: the voxel size is {_describe(other)} by {other.source}, "
                    f"but {_describe(statement)} by {statement.source}: "
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
    for statement in statements:
        if not statement.axes:
            continue
        if len(statement.axes) != ndim:
            raise BadInput(
                f"{name} has {ndim} axes, but {statement.source} names {len(statement.axes)} ({statement.axes}): "
                "correct it"
            )
        merged = "".join(map(_clearer, axes, statement.axes))
        known = [a for a in merged if a not in "?*"]
        if any(a != b and {a, b}.isdisjoint("?*") for a, b in zip(axes, statement.axes, strict=True)) or (
            source and len(set(known)) < len(known)
        ):
            raise BadInput(
                f"{name}: its axes are {axes} by {source}, but {statement.axes} by {statement.source}: "
                "correct one of them"
            )
        axes, source = merged, source or statement.source
    return axes


def _clearer(first: str, second: str) -> str:
    """Return the more specific letter: one of `tczyx`, else `*`, else `?`."""
    return second if first == "?" or (first == "*" and second != "?") else first


def _differ(first: Calibration, second: Calibration) -> bool:
    """Say whether two voxel sizes contradict each other; where a unit is missing, only their proportions count."""
    shared = [a for a in first.voxel_size if a in second.voxel_size]
    if not shared:
        return False
    factors = [
        convert(first.voxel_size[a], first.unit, second.unit or first.unit) / second.voxel_size[a]
        if second.voxel_size[a]
        else 0
        for a in shared
    ]
    if first.unit and second.unit:
        return any(abs(factor - 1) > TOLERANCE for factor in factors)
    return max(factors) - min(factors) > TOLERANCE * max(map(abs, factors))


def _describe(statement: Calibration) -> str:
    numbers = ", ".join(f"{a} {statement.voxel_size[a]:g}" for a in "zyx" if a in statement.voxel_size)
    return f"{numbers} {statement.unit}".strip()
