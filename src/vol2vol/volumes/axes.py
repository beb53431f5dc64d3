"""Interpret axis letters, voxel sizes and units, and convert stored blocks to `(C, Z, Y, X)` and back.

Axis strings have one lower-case letter per axis of the stored array, in its order: `t c z y x`, or `?` where the format
does not say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape

METRES = {
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "inch": 0.0254,
    "meter": 1.0,
}
_SPELLINGS = {
    "picometer": "pm picometre",
    "angstrom": "a Å å ångström ångstrom angstroem",
    "nanometer": "nm nanometre",
    "micrometer": "um \N{MICRO SIGN}m \N{GREEK SMALL LETTER MU}m \\u00b5m micron micrometre",
    "millimeter": "mm millimetre",
    "centimeter": "cm centimetre",
    "inch": "in",
    "meter": "m metre",
}
UNITS = {name: word for word, names in _SPELLINGS.items() for name in (word, f"{word}s", *names.lower().split())}
UNITS |= {f"{name}s": word for name, word in UNITS.items() if name.endswith(("metre", "micron"))}
TOLERANCE = 0.01


def known_unit(text: str | None) -> str:
    """Return the full word OME uses for a unit found in a file, or "" where it says nothing usable ("pixel")."""
    return UNITS.get((text or "").strip().lower(), "")


def user_unit(text: str | None) -> str:
    """Return the full word for a unit a user typed; raise `BadInput` if it is not a unit of length."""
    unit = known_unit(text)
    if text and not unit:
        raise BadInput(f"`unit` {text} is not a unit of length: use one of {', '.join(METRES)}")
    return unit


def convert(value: float, unit: str, into: str) -> float:
    """Convert a length between two units; unknown units leave it as it is."""
    if unit == into or not unit or not into:
        return value
    return tidy(value * METRES[unit] / METRES[into])


def tidy(value: float) -> float:
    """Return a length without rounding errors in its last digits: 0.3, not 0.30000000000000004."""
    return float(f"{value:.12g}")


def settle_axes(name: str, axes: str, shape: Shape, stated: str | None) -> str:
    """Return one letter per axis of a stored array, from its metadata (`axes`, `?` = unknown) and the user (`stated`).

    Without either, two axes are `yx`, three are `zyx` and one unknown axis before `yx` is `z`.
    Raises `BadInput` naming `--axes` where that would be a guess, or where user and metadata contradict each other.
    """
    if 0 in shape:
        raise BadInput(f"{name} is empty: its shape is {shape}")
    settled = _guess(name, axes, shape) if stated is None else stated.strip().lower()
    if len(settled) != len(shape):
        raise BadInput(
            f"{name} has {len(shape)} axes of shape {shape}, not {len(settled)}: give `axes` one letter each"
        )
    doubled = len(set(settled)) != len(settled)
    if doubled or not set("yx") <= set(settled) <= set("tczyx"):
        raise BadInput(
            f"{name} cannot be read with axes {settled!r}: give `axes` with y, x and, where there are, z and c"
        )
    if stated is not None and any(a not in "?*t" and a != b for a, b in zip(axes, settled, strict=True)):
        raise BadInput(f"{name} says its axes are {axes}, not {settled}: leave out `axes` or correct the file")
    return settled


def settle_time(name: str, count: int, stated: int | None) -> int:
    """Return the number of the time point to read, counted from 0; a single one is read whatever the user states.

    Raises `BadInput` naming `--time` where the user has to choose, or where the number is out of range.
    """
    if count == 1 and (stated is None or stated >= 0):
        return 0
    if stated is None:
        raise BadInput(
            f"{name} has {count} time points: choose one with `time` 0 to `time` {count - 1}, "
            "or, if that axis is depth, give `axes`"
        )
    if not 0 <= stated < count:
        raise BadInput(
            f"{name} has {count} time points and no {stated}: choose one with `time` 0 to `time` {count - 1}"
        )
    return stated


def _guess(name: str, axes: str, shape: Shape) -> str:
    """Return the axes with unnamed ones filled in; raise `BadInput` where more than one reading makes sense."""
    if "*" in axes:
        raise BadInput(f"{name} has axes of other names than t, c, z, y, x ({axes}) and shape {shape}: give `axes`")
    if set(axes) == {"?"}:
        coloured = len(shape) == 3 and shape[-1] <= 4 < min(shape[:2])
        if len(shape) in (2, 3) and not coloured:
            return "zyx"[-len(shape) :]
        last = shape[-1] <= 4 < min(shape[:-1])
        example = {3: "yxc", 4: "zyxc" if last else "czyx", 5: "tzyxc" if last else "tczyx"}.get(len(shape), "zyx")
        raise BadInput(f"{name} does not name its axes of shape {shape}: give `axes`, such as `axes` {example}")
    if axes.count("?") == 1 and "z" not in axes:
        return axes.replace("?", "z")
    if "?" in axes:
        left = iter([a for a in "zct" if a not in axes])
        example = "".join(next(left, "?") if a == "?" else a for a in axes)
        raise BadInput(
            f"{name} names only some of its axes ({axes}) of shape {shape}: give `axes`, such as `axes` {example}"
        )
    return axes


def to_czyx(raw: np.ndarray, axes: str) -> np.ndarray:
    """Return a view of a stored block as `(C, Z, Y, X)`: time dropped, missing axes of length 1."""
    if "t" in axes:
        raw = raw.take(0, axis=axes.index("t"))
        axes = axes.replace("t", "")
    raw = raw.transpose([axes.index(a) for a in "czyx" if a in axes])
    return raw.reshape(_with_ones(raw.shape, axes)) if len(axes) < 4 else raw


def _with_ones(shape: Sequence[int], axes: str) -> Shape:
    sizes = iter(shape)
    return tuple(next(sizes) if a in axes else 1 for a in "czyx")


def from_czyx(block: np.ndarray, axes: str) -> np.ndarray:
    """Return a view of a `(C, Z, Y, X)` block in stored order: the inverse of `to_czyx`."""
    kept = [a for a in "czyx" if a in axes]
    block = block.reshape([n for a, n in zip("czyx", block.shape, strict=True) if a in axes])
    spatial = [a for a in axes if a != "t"]
    block = block.transpose([kept.index(a) for a in spatial])
    return np.expand_dims(block, axes.index("t")) if "t" in axes else block


def where_stored(box: Box, axes: str) -> tuple[slice, ...]:
    """Return where a box of all channels lies in an array of these axes, of `czyx`."""
    where = {"c": slice(None), **dict(zip("zyx", box.slices, strict=True))}
    return tuple(where[axis] for axis in axes)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a sorting key that puts slice 2 before slice 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", name)]
