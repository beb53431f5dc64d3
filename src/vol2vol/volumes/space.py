"""Settle voxel size, unit and place of a volume from its file and the user."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.volumes.axes import TOLERANCE, convert, known_unit, tidy, user_unit
from vol2vol.volumes.stated import Stated
from vol2vol.volumes.stored import Stored

log = logging.getLogger(__name__)
NOTES = 3
"""Number of files without a voxel size that a process reports."""
_noted: set[str] = set()


@dataclass(frozen=True)
class Space:
    """Voxel size, unit and place of a volume."""

    voxel_size: tuple[float, float, float] | None
    """Z, Y, X, in `unit`; None where it is not known."""
    offset: Mapping[str, float]
    """Place of the centre of the first voxel per axis letter, in `unit`; empty where it is not known."""
    unit: str
    """Full word; "" where it is not known."""


def settle_space(stored: Stored, axes: str, stated: Stated) -> Space:
    """Return voxel size, unit and place of a stored array of these axes from its metadata and the user.

    Many programs write a voxel size of 1 without a unit if they know none: it counts as unknown unless a unit is
    stated. Raises `BadInput` naming the flag where the two contradict each other.
    """
    user_size, typed_unit = stated.get("voxel_size"), user_unit(stated.get("unit"))
    stored_unit = known_unit(stored.unit)
    unit = typed_unit or stored_unit
    if typed_unit and user_size is None:
        if stored.voxel_size and stored_unit not in ("", unit):
            raise BadInput(f"{stored.path} is in {stored_unit}, not {unit}: leave out `unit`")
        if not stored.voxel_size:
            raise BadInput(f"{stored.path} has no voxel size: give `voxel_size` Z,Y,X along with `unit`")
    counted = not stored_unit and bool(stored.voxel_size) and _ones(stored)
    sizes = {a: convert(size, stored_unit, unit) for a, size in stored.voxel_size.items()}
    placeholder = counted and (user_size is not None or not typed_unit)
    size = settle_voxel_size(stored.path, axes, {} if placeholder else sizes, user_size)
    if size is None:
        if not placeholder:
            _note(stored.path)
        return Space(None, {} if stored_unit else _in_voxels(stored), "")
    offset = {a: convert(value, stored_unit, unit) for a, value in stored.offset.items()}
    if placeholder:
        lengths = dict(zip("zyx", size, strict=True))
        offset = {a: tidy(value * lengths[a]) for a, value in _in_voxels(stored).items()}
    return Space(size, offset, unit)


def _in_voxels(stored: Stored) -> dict[str, float]:
    """Return the place of an array of unknown voxel size in its own voxels; a coarser level states it in the finest."""
    scale = {a: size for a, size in stored.voxel_size.items() if isfinite(size) and size > 0}
    return {a: tidy(value / scale.get(a, 1.0)) for a, value in stored.offset.items()}


def _ones(stored: Stored) -> bool:
    """Say whether the finest level has voxels of 1."""
    finest = stored.levels[0].get("voxel_size") if stored.levels else None
    return all(value == 1 for value in finest or stored.voxel_size.values())


def _note(path: str) -> None:
    """Log once per file that its voxel size is not known."""
    if path in _noted or len(_noted) >= NOTES:
        return
    _noted.add(path)
    ending = "; further files are not listed" if len(_noted) == NOTES else ""
    log.info("%s has no voxel size: it is counted in voxels (`voxel_size` Z,Y,X and `unit` state it)%s", path, ending)


def need_voxel_size(volume: Any, what: str) -> None:
    """Raise `BadInput`, naming what needs it, where the voxel size of a volume is not known."""
    if not volume.sized:
        raise BadInput(
            f"{volume.path} has no voxel size, which {what}: give `voxel_size` Z,Y,X (and `unit`), in a study the "
            "voxel_size of its domain"
        )


def settle_voxel_size(
    name: str, axes: str, stored: Mapping[str, float], stated: Sequence[float] | None
) -> tuple[float, float, float] | None:
    """Return the voxel size (z, y, x) from metadata (`stored`, per axis letter) and the user (`stated`), in one unit.

    None where neither has any. The z of a 2D image is a placeholder: the stated or stored size, else 1.0. A stored size
    that is not positive and finite counts as not stated. Raises `BadInput` naming `--voxel-size` where only some axes
    have one, and where the user contradicts the metadata by more than 1 %.
    """
    stored = {axis: value for axis, value in stored.items() if isfinite(value) and value > 0}
    size = dict(stored)
    if stated is not None:
        typed = [float(value) for value in stated]
        if len(typed) != 3 and not (len(typed) == 2 and "z" not in axes):
            raise BadInput(f"`voxel_size` {_typed(typed)} must be three numbers: give Z,Y,X")
        if not all(isfinite(value) and value > 0 for value in typed):
            raise BadInput(f"`voxel_size` {_typed(typed)} must be positive numbers")
        size = dict(zip("zyx"[-len(typed) :], typed, strict=True))
        contradicted = [
            a for a in stored if a in axes and abs(size.get(a, stored[a]) - stored[a]) > TOLERANCE * stored[a]
        ]
        if contradicted:
            known = [a for a in "zyx" if a in stored]
            along = "" if all(a in known for a in "zyx" if a in axes) else f" along {', '.join(known)}"
            file_size = _typed([stored[a] for a in known])
            agreed = _typed([stored.get(a, size[a]) for a in "zyx" if a in stored or a in size])
            raise BadInput(
                f"{name} says its voxel size{along} is {file_size}, not {_typed(typed)}: "
                f"give `voxel_size` {agreed} or correct the file"
            )
    if not any(a in size for a in axes):
        return None
    if "z" not in axes:
        size.setdefault("z", 1.0)
    if missing := [a for a in "zyx" if a not in size]:
        along = "" if len(missing) > 1 else f" along {missing[0]}"
        raise BadInput(f"{name} has no voxel size{along}: give `voxel_size` Z,Y,X (and `unit`)")
    return size["z"], size["y"], size["x"]


def _typed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
