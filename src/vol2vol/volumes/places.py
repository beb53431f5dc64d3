"""Check that two volumes used together have the same voxel size and lie at the same place."""

from __future__ import annotations

import functools
import logging

from vol2vol.volumes.axes import convert
from vol2vol.volumes.volume import Volume

log = logging.getLogger(__name__)
SAME_SIZE = 0.02
"""Relative difference of voxel sizes up to which volumes count as having the same scale."""


def same_voxels(first: Volume, second: Volume, tolerance: float) -> bool:
    """Say whether two volumes have the same voxel size up to a relative `tolerance`, in whatever units.

    True where the voxel size of either is not known.
    """
    if not (first.sized and second.sized):
        return True
    other = (convert(value, second.unit, first.unit) for value in second.voxel_size)
    return all(abs(a - b) <= tolerance * max(a, b) for a, b in zip(first.voxel_size, other, strict=True))


def warn_apart(first: Volume, second: Volume) -> None:
    """Warn once where the stated places of two volumes are more than half a voxel apart."""
    if difference := apart(first, second):
        _warn(f"{difference}: is it the same tissue?")


def apart(first: Volume, second: Volume) -> str:
    """Return a sentence where the stated places of two volumes are more than half a voxel apart, else ""."""
    if not (first.placed and second.placed) or bool(first.unit) != bool(second.unit):
        return ""
    other = tuple(convert(value, second.unit, first.unit) for value in second.offset)
    if all(abs(a - b) <= v / 2 for a, b, v in zip(first.offset, other, first.voxel_size, strict=True)):
        return ""
    return f"{first.path} lies at {_place(first)} and {second.path} at {_place(second)}"


def _place(volume: Volume) -> str:
    return f"{','.join(f'{value:g}' for value in volume.offset)} {volume.unit}".strip()


@functools.cache
def _warn(text: str) -> None:
    log.warning("%s", text)
