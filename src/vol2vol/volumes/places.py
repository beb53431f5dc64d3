"""Two volumes that are used voxel by voxel: whether their voxels have one size and lie at one place."""

from __future__ import annotations

import functools
import logging

from vol2vol.volumes.axes import convert
from vol2vol.volumes.volume import Volume

log = logging.getLogger(__name__)
SAME_SIZE = 0.02
"""Relative difference of voxel sizes up to which volumes are of one scale."""


def same_voxels(first: Volume, second: Volume, tolerance: float) -> bool:
    """Say whether two volumes of one shape have one voxel size, to a share of it, whatever the units it is stated in.

    Of a volume whose voxel size is not known, nothing speaks against it.
    """
    if not (first.sized and second.sized):
        return True
    other = (convert(value, second.unit, first.unit) for value in second.voxel_size)
    return all(abs(a - b) <= tolerance * max(a, b) for a, b in zip(first.voxel_size, other, strict=True))


def warn_apart(first: Volume, second: Volume) -> None:
    """Warn, once, where two volumes state places that are more than half a voxel apart, whatever they hold."""
    if where := apart(first, second):
        _warn(f"{where}: is it the same tissue?")


def apart(first: Volume, second: Volume) -> str:
    """Say which places two volumes state that are more than half a voxel apart; empty where they are not."""
    if not (first.placed and second.placed) or bool(first.unit) != bool(second.unit):
        return ""
    other = tuple(convert(value, second.unit, first.unit) for value in second.offset)
    if all(abs(a - b) <= v / 2 for a, b, v in zip(first.offset, other, first.voxel_size, strict=True)):
        return ""
    return f"{first.path} lies at {_words(first)} and {second.path} at {_words(second)}"


def _words(volume: Volume) -> str:
    return f"{','.join(f'{value:g}' for value in volume.offset)} {volume.unit}".strip()


@functools.cache
def _warn(text: str) -> None:
    log.warning("%s", text)
