"""Volumes at rest: their files are open during reads alone, so that thousands of them take little memory."""

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
    """An opened volume that lets go of its file, to be read only: what is known of it stays, each read opens it anew.

    A pickled one stays at rest where it arrives.
    """

    def __init__(self, volume: Volume) -> None:
        self.__dict__.update(volume.__dict__)
        opener = self._reopen
        assert opener is not None, "this volume was not opened by open_volume"
        stored = volume._stored
        stored.close()
        reader = _Reader(opener, stored.path, stored.shape, stored.dtype)
        about: dict[str, Any] = {"missing": tuple, "flush": nothing, "close": nothing}
        self._stored = replace(stored, read=reader, stamp=reader.stamp, write=None, set_attrs=None, **about)

    def __reduce__(self) -> tuple[Callable[..., Volume], tuple[Any, ...]]:
        return _as_it_was, (self.__dict__,)


def _as_it_was(state: dict[str, Any]) -> RestingVolume:
    volume = RestingVolume.__new__(RestingVolume)
    volume.__dict__.update(state)
    return volume


@dataclass(frozen=True, slots=True)
class _Reader:
    """Opens a volume anew for each read of what is stored."""

    reopen: Callable[[], Volume]
    path: str
    shape: Shape
    dtype: np.dtype

    def __call__(self, where: Slices) -> np.ndarray:
        """Return stored voxels; raise `Unreadable` where the file does not hold the array of before."""
        with self.reopen() as volume:
            stored = volume._stored
            if (stored.shape, stored.dtype) != (self.shape, self.dtype):
                raise Unreadable(f"{self.path} has changed since it was opened: restore it, or start again")
            return np.array(stored.read(where))

    def stamp(self) -> Any:
        """Return plain data that changes with the file."""
        with self.reopen() as volume:
            return volume._stored.stamp()
