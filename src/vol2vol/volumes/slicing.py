"""Index a volume like an array, for NumPy, Dask and viewers: `[...]`, `np.asarray`, `ndim`, `nbytes`.

Indices are NumPy's basic ones, along (C, Z, Y, X). The indexed voxels are read in parts of whole chunks, so that a
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
"""Bytes of an array up to which free memory is not checked."""


class Sliceable(ABC):
    """An array (C, Z, Y, X) whose voxels are read or computed when it is indexed."""

    shape: Shape
    dtype: np.dtype

    @property
    @abstractmethod
    def path(self) -> str:
        """Its name in messages."""

    @property
    @abstractmethod
    def chunks(self) -> Shape:
        """Channels and voxels along Z, Y, X that are read at once."""

    @abstractmethod
    def _part(self, channels: slice, box: Box) -> np.ndarray:
        """Return a range of channels of a box that is not empty, `(channels, *box.shape)`."""

    @property
    def _at_once(self) -> int:
        """Voxels along an axis above which an index is read in several parts."""
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
        """Return what NumPy returns for integers, slices of any step, `...` and None.

        For a volume opened from an array, the result is a read-only view. Raises `IndexError` for other
        indices, `BadInput` where the result does not fit into memory.
        """
        ranges, rest = _parsed(index, self.shape)
        return self._gathered(ranges)[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all values as an array, for `np.asarray`; raise `BadInput` where they do not fit into memory."""
        if copy is False:
            raise ValueError(f"{self.path} is read into a new array: np.asarray(volume) without copy=False")
        values = self[...]
        copied = values.copy() if copy and not values.flags.writeable else values
        result: np.ndarray = copied if dtype is None else copied.astype(dtype, copy=False)
        return result

    def _gathered(self, ranges: tuple[range, ...]) -> np.ndarray:
        """Return the outer product of ranges along the four axes, each forwards or backwards."""
        forward = [r if r.step > 0 else r[::-1] for r in ranges]
        direction = tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)
        shape = tuple(map(len, forward))
        if 0 in shape:
            return np.empty(shape, self.dtype)
        _check_memory(self.path, shape, self.dtype)
        runs = [list(_runs(r, chunk, self._at_once)) for r, chunk in zip(forward[1:], self.chunks[1:], strict=True)]
        first = slice(forward[0].start, forward[0][-1] + 1)
        if all(len(run) == 1 and run[0].every.step == 1 for run in runs):
            values = self._part(first, _box(run[0] for run in runs))[:: forward[0].step]
            return values[direction]
        values = np.empty(shape, self.dtype)
        for parts in product(*runs):
            picked = (slice(None, None, forward[0].step), *(run.every for run in parts))
            values[(slice(None), *(run.to for run in parts))] = self._part(first, _box(parts))[picked]
        return values[direction]


@dataclass(frozen=True)
class _Run:
    """Neighbouring indices of a range along one axis, which are read together."""

    start: int
    stop: int
    every: slice
    """Which of the voxels from start to stop belong to the range."""
    to: slice
    """Their positions in the range."""


def _runs(indices: range, chunk: int, long: int) -> Iterator[_Run]:
    """Cut a range into runs of one chunk each, or of several short chunks where the step is 1."""
    unit = max(1, chunk)
    if indices.step == 1:
        unit *= ceil_div(long, unit)
    position = 0
    while position < len(indices):
        border = (indices[position] // unit + 1) * unit
        count = min(len(indices) - position, ceil_div(border - indices[position], indices.step))
        last = indices[position + count - 1]
        yield _Run(indices[position], last + 1, slice(None, None, indices.step), slice(position, position + count))
        position += count


def _box(runs: Any) -> Box:
    axes = list(runs)
    return Box(tuple(run.start for run in axes), tuple(run.stop for run in axes))


def _parsed(index: Any, shape: Shape) -> tuple[tuple[range, ...], tuple[Any, ...]]:
    """Return the range of voxels along each axis, and the index that then drops or adds axes as NumPy does."""
    entries = list(index) if isinstance(index, tuple) else [index]
    count = sum(entry is not None and entry is not Ellipsis for entry in entries)
    dots = [number for number, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1 or count > len(shape):
        raise IndexError(f"an index has up to {len(shape)} entries, C, Z, Y, X, and one ...: {index!r} has more")
    at = dots[0] if dots else len(entries)
    entries[at : at + 1] = [slice(None)] * (len(shape) - count)
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
    """Raise `BadInput` where an array does not fit into free memory."""
    needed = prod(shape) * dtype.itemsize
    if needed > SMALL and needed > (free := psutil.virtual_memory().available):
        raise BadInput(
            f"{path}: an array of shape {shape} takes {needed / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free: "
            "take a part, volume[:, 0:16], or dask.array.from_array(volume)"
        )
