"""Keep what the tiles of a march have painted, in stored values, until all that is shown it or made of it is done.

    painted/<tile>      in the folder of the ledger: the stored values of one tile, channel by channel

A file is written whole or not at all, and its tile is marked with its checksum; it is deleted as soon as the last tile
that is shown it and the last block made of it are marked. A prediction in memory keeps arrays instead.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vol2vol.errors import NotFound, Unreadable
from vol2vol.files import read_bytes
from vol2vol.geometry import Shape
from vol2vol.plans.ordered_tiles import Index
from vol2vol.volumes.addresses import is_remote, join
from vol2vol.volumes.formats.store import delete_keys, read_range, write_key
from vol2vol.volumes.ledger import Ledger, checksum
from vol2vol.volumes.marks import Marks

FOLDER = "painted"


def tile_name(index: Index) -> str:
    """Return the name of a tile in the ledger."""
    return f"tile-{'.'.join(map(str, index))}"


class Painted(Protocol):
    """Where painted tiles are kept: arrays (C, *tile) in stored values."""

    def keep(self, index: Index, values: np.ndarray) -> None:
        """Keep a tile."""
        ...

    def load(self, index: Index) -> np.ndarray:
        """Return a tile that was kept; raise `Unreadable` where it was lost."""
        ...

    def drop(self, index: Index) -> None:
        """Forget a tile."""
        ...


class InMemory(dict[Index, np.ndarray]):
    """Painted tiles of a prediction that is computed when it is read."""

    keep = dict.__setitem__
    load = dict.__getitem__

    def drop(self, index: Index) -> None:
        """Forget a tile."""
        self.pop(index, None)


class InLedger:
    """Painted tiles of an output that is being written, for all its workers."""

    def __init__(self, output: str, marks: Marks, shape: Shape, dtype: np.dtype) -> None:
        self._folder, self._marks, self._shape = Ledger.of(output).folder, marks, shape
        self._dtype = dtype.newbyteorder("<")

    def keep(self, index: Index, values: np.ndarray) -> None:
        """Write a tile and mark it as done."""
        stored = np.ascontiguousarray(values, self._dtype)
        write_key(self._folder, self._key(index), stored.tobytes())
        self._marks.mark(tile_name(index), checksum(stored))

    def load(self, index: Index) -> np.ndarray:
        """Return a tile; raise `Unreadable` where its file is missing, damaged or not marked."""
        values = self._read(index)
        if values is None:
            raise Unreadable(
                f"{join(self._folder, self._key(index))} is missing or damaged: the same command computes it again"
            )
        return values

    def is_intact(self, index: Index) -> bool:
        """Return whether a tile is marked and its file is as it was written."""
        return self._read(index) is not None

    def drop(self, index: Index) -> None:
        """Delete the file of a tile; its mark stays."""
        delete_keys(self._folder, self._key(index))

    def _read(self, index: Index) -> np.ndarray | None:
        expected = self._marks.checksum(tile_name(index))
        if expected is None:
            return None
        content = self._content(self._key(index))
        if content is None or len(content) != np.prod(self._shape) * self._dtype.itemsize:
            return None
        values = np.frombuffer(content, self._dtype).reshape(self._shape)
        return values.astype(self._dtype.newbyteorder("="), copy=False) if checksum(values) == expected else None

    def _content(self, key: str) -> bytes | None:
        if is_remote(self._folder):
            return read_range(self._folder, key, slice(0, None))
        try:
            return read_bytes(join(self._folder, key), int(np.prod(self._shape)) * self._dtype.itemsize)
        except (NotFound, Unreadable):
            return None

    def _key(self, index: Index) -> str:
        return f"{FOLDER}/{tile_name(index)}"
