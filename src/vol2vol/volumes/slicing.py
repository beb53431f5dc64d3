"""The face by which NumPy, Dask and viewers take a volume for an array: `[...]`, `np.asarray`, `ndim`, `nbytes`.

Indices are NumPy's basic ones, along (C, Z, Y, X). What an index picks is read in parts of whole chunks, so that a
preview such as `volume[0, ::16, ::16, ::16]` holds little more than its result.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import psutil

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div

LONG = 256
"""Voxels along an axis that are read at once, or one chunk where that is longer, unless a class says otherwise."""
SMALL = 1 << 26
"""Bytes of an array that is made without asking how much memory is free."""


class Sliceable(ABC):
    """An array (C, Z, Y, X) whose voxels are read, or made, when they are asked for."""

    shape: Shape
    dtype: np.dtype

    @property
    @abstractmethod
    def path(self) -> str:
        """What messages call it."""

    @property
    @abstractmethod
    def chunks(self) -> Shape:
        """Channels and voxels along Z, Y, X that are read at once."""

    @abstractmethod
    def _part(self, channels: slice, box: Box) -> np.ndarray:
        """Return some channels of the voxels of a box that is not empty, `(channels, *box.shape)`."""

    @property
    def _at_once(self) -> int:
        """Voxels along an axis from which a part is cut into several, which are put together afterwards."""
        return LONG

    @property
    def ndim(self) -> int:
        """Number of axes: channels, Z, Y and X."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values, over all channels."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return what NumPy would of the whole array: whole numbers, slices of any step, `...` and None.

        Of a volume that was opened from an array it is a view that cannot be written to. Raises `IndexError` for other
        indices, `BadInput` where the result does not fit the memory.
        """
        ranges, rest = _parsed(index, self.shape)
        return self._gathered(ranges)[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all values as an array, for `np.asarray`; raise `BadInput` where they do not fit the memory."""
        if copy is False:
            raise ValueError(f"{self.path} is read into a new array: np.asarray(volume) without copy=False")
        values = self[...]
        copied = values.copy() if copy and not values.flags.writeable else values
        result: np.ndarray = copied if dtype is None else copied.astype(dtype, copy=False)
        return result

    def _gathered(self, ranges: tuple[range, ...]) -> np.ndarray:
        """Return the outer product of ranges along the four axes, each forwards or backwards."""
        ahead = [r if r.step > 0 else r[::-1] for r in ranges]
        back = tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)
        shape = tuple(map(len, ahead))
        if 0 in shape:
            return np.empty(shape, self.dtype)
        _check_memory(self.path, shape, self.dtype)
        runs = [list(_runs(r, chunk, self._at_once)) for r, chunk in zip(ahead[1:], self.chunks[1:], strict=True)]
        first = slice(ahead[0].start, ahead[0][-1] + 1)
        if all(len(run) == 1 and run[0].every.step == 1 for run in runs):
            found = self._part(first, _box(run[0] for run in runs))[:: ahead[0].step]
            return found[back]
        found = np.empty(shape, self.dtype)
        for parts in product(*runs):
            picked = (slice(None, None, ahead[0].step), *(run.every for run in parts))
            found[(slice(None), *(run.to for run in parts))] = self._part(first, _box(parts))[picked]
        return found[back]


@dataclass(frozen=True)
class _Run:
    """Neighbouring places of a range along one axis, which are read together."""

    start: int
    stop: int
    every: slice
    """Which of the voxels from start to stop belong to the range."""
    to: slice
    """Which places of the range they are."""


def _runs(places: range, chunk: int, long: int) -> Iterator[_Run]:
    """Cut a range into runs within one chunk, or within several where every voxel is wanted and chunks are short."""
    unit = max(1, chunk)
    if places.step == 1:
        unit *= ceil_div(long, unit)
    at = 0
    while at < len(places):
        border = (places[at] // unit + 1) * unit
        count = min(len(places) - at, ceil_div(border - places[at], places.step))
        last = places[at + count - 1]
        yield _Run(places[at], last + 1, slice(None, None, places.step), slice(at, at + count))
        at += count


def _box(runs: Any) -> Box:
    along = list(runs)
    return Box(tuple(run.start for run in along), tuple(run.stop for run in along))


def _parsed(index: Any, shape: Shape) -> tuple[tuple[range, ...], tuple[Any, ...]]:
    """Return the places along each axis, and the index that gives the array of these the axes NumPy gives it."""
    entries = list(index) if isinstance(index, tuple) else [index]
    given = sum(entry is not None and entry is not Ellipsis for entry in entries)
    dots = [number for number, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1 or given > len(shape):
        raise IndexError(f"an index has up to {len(shape)} entries, C, Z, Y, X, and one ...: {index!r} has more")
    at = dots[0] if dots else len(entries)
    entries[at : at + 1] = [slice(None)] * (len(shape) - given)
    ranges: list[range] = []
    rest: list[Any] = []
    for entry in entries:
        if entry is None:
            rest.append(None)
        elif isinstance(entry, slice):
            ranges.append(range(*entry.indices(shape[len(ranges)])))
            rest.append(slice(None))
        else:
            place = _place(entry, len(ranges), shape[len(ranges)])
            ranges.append(range(place, place + 1))
            rest.append(0)
    return tuple(ranges), tuple(rest)


def _place(entry: Any, axis: int, size: int) -> int:
    """Return a voxel counted from the start; raise `IndexError` where it is outside or not a whole number."""
    try:
        number = None if isinstance(entry, bool | np.bool_) else operator.index(entry)
    except TypeError:
        number = None
    if number is None:
        raise IndexError(
            f"an index is made of whole numbers, slices, ... and None, not of {type(entry).__name__}: "
            "take a part first, then index that array"
        )
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of bounds for axis {axis} ({'CZYX'[axis]}) of size {size}")
    return number % size


def _check_memory(path: str, shape: Shape, dtype: np.dtype) -> None:
    """Raise `BadInput` where an array does not fit the memory that is free."""
    needed = prod(shape) * dtype.itemsize
    if needed > SMALL and needed > (free := psutil.virtual_memory().available):
        raise BadInput(
            f"{path}: an array of shape {shape} takes {needed / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free: "
            "take a part, volume[:, 0:16], or dask.array.from_array(volume)"
        )
