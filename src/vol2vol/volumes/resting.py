"""Volumes whose files are open only during reads, so that thousands of them take little memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vol2vol.errors import Unreadable
from vol2vol.geometry import Shape
from vol2vol.volumes.stored import Slices, nothing
from vol2vol.volumes.volume import Volume


class RestingVolume(Volume):
    """A read-only volume that keeps its metadata and closes its file; every read opens the file again.

    A pickled one is loaded the same way, with its file closed.
    """

    def __init__(self, volume: Volume) -> None:
        self.__dict__.update(volume.__dict__)
        opener = self._reopen
        assert opener is not None, "this volume was not opened by open_volume"
        stored = volume._stored
        stored.close()
        reader = _Reader(opener, stored.path, stored.shape, stored.dtype)
        functions: dict[str, Any] = {"missing": tuple, "flush": nothing, "close": nothing}
        self._stored = replace(stored, read=reader, stamp=reader.stamp, write=None, set_attrs=None, **functions)

    def __reduce__(self) -> tuple[Callable[..., Volume], tuple[Any, ...]]:
        return _restore, (self.__dict__,)


def _restore(state: dict[str, Any]) -> RestingVolume:
    volume = RestingVolume.__new__(RestingVolume)
    volume.__dict__.update(state)
    return volume


@dataclass(frozen=True, slots=True)
class _Reader:
    """Opens a volume for each read and closes it afterwards."""

    reopen: Callable[[], Volume]
    path: str
    shape: Shape
    dtype: np.dtype

    def __call__(self, where: Slices) -> np.ndarray:
        """Return stored voxels; raise `Unreadable` where the file no longer holds the same array."""
        with self.reopen() as volume:
            stored = volume._stored
            if (stored.shape, stored.dtype) != (self.shape, self.dtype):
                raise Unreadable(f"{self.path} has changed since it was opened: restore it, or start again")
            return np.array(stored.read(where))

    def stamp(self) -> Any:
        """Return plain data that changes with the file."""
        with self.reopen() as volume:
            return volume._stored.stamp()
