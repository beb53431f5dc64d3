"""Read and write blocks of a Zarr or N5 array through tensorstore, in the array's own axes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, Unreadable
from vol2vol.files import check_regular
from vol2vol.volumes.addresses import is_remote, kvstore
from vol2vol.volumes.formats.blosc import BloscChunks
from vol2vol.volumes.formats.store import context, list_keys, make_way, read_range, refusal
from vol2vol.volumes.stored import Slices

_LOST = re.compile(r'NOT_FOUND: chunk .*"([^"]+)" is missing')


def _bounded(slices: Slices, shape: Sequence[int]) -> list[slice]:
    return [slice(*s.indices(n)) for s, n in zip(slices, shape, strict=True)]


def lacking(location: str, key: str, more: int = 0) -> Unreadable:
    """Return the error for a volume that has lost a shard, and `more` others."""
    others = f" and {more} more" if more else ""
    return Unreadable(
        f"{location} lacks {key}{others}: copy it again, or repeat the command that wrote it, which adds them"
    )


def _naming(kind: str, metadata: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the first parts of chunk keys, and the separator between parts."""
    if kind != "zarr3":
        return [], str(metadata.get("dimension_separator", "/"))
    encoding = metadata["chunk_key_encoding"]
    default = encoding["name"] == "default"
    return ["c"] * default, str(encoding.get("configuration", {}).get("separator", "/" if default else "."))


class ChunkedArray:
    """A tensorstore array; writes are on disk when they return. Only the process that opened it can use it."""

    def __init__(self, location: str, spec: dict[str, Any]) -> None:
        import tensorstore as ts

        self.location = location
        writing = bool(spec.get("create"))
        self._kind = spec["driver"]
        if writing:
            make_way(location, ["zarr.json", ".zarray"])
        try:
            self._array = ts.open({**spec, "kvstore": kvstore(location)}, context=context()).result()
        except (ValueError, OSError) as error:
            raise refusal(location, error, writing=writing) from error
        self.shape = tuple(int(n) for n in self._array.domain.shape)
        self.dtype = np.dtype(self._array.dtype.numpy_dtype)
        layout = self._array.chunk_layout
        self.chunks = tuple(int(n or 1) for n in layout.read_chunk.shape or self.shape)
        self.shards = tuple(int(n or 1) for n in layout.write_chunk.shape or self.shape)
        metadata = self._array.spec().to_json()["metadata"]
        self._first, self._between = _naming(self._kind, metadata)
        try:
            self._blosc = BloscChunks.of(self._kind, metadata, self.chunks, self.shards, self.dtype.itemsize)
        except BadInput as error:
            raise BadInput(f"{location}: {error}") from None

    def keys(self, slices: Slices) -> list[str]:
        """Return the keys of the shards (or chunks) that a block lies in."""
        spans = [
            range(s.start // n, -(-s.stop // n)) for s, n in zip(_bounded(slices, self.shape), self.shards, strict=True)
        ]
        return list(map(self._key, product(*spans)))

    def _key(self, place: Iterable[int]) -> str:
        return self._between.join([*self._first, *map(str, place)])

    def read(self, slices: Slices) -> np.ndarray:
        """Return a block; chunks are decoded by a few threads.

        Raises `Unreadable` where a chunk is a pipe, or is missing although every chunk should be stored, `ValueError`
        where one decompresses to more than a chunk holds.
        """
        context()
        for key in self.keys(slices) if not is_remote(self.location) else ():
            check_regular(os.path.join(self.location, key))
        if self._blosc is not None:
            self._blosc.check(tuple(_bounded(slices, self.shape)), self._key, self._range)
        try:
            return np.asarray(self._array[slices].read().result())
        except ValueError as error:
            if lost := _LOST.search(str(error)):
                raise lacking(self.location, lost[1].rpartition(f"{Path(self.location).name}/")[2]) from error
            raise

    def _range(self, key: str, part: slice) -> bytes | None:
        return read_range(self.location, key, part)

    def missing(self) -> list[str]:
        """Return the keys of the missing shards (or chunks)."""
        stored = set(list_keys(self.location))
        return [key for key in self.keys((slice(None),) * len(self.shape)) if key not in stored]

    def write(self, slices: Slices, block: np.ndarray) -> None:
        """Store a block; it is on disk when this returns."""
        context()
        make_way(self.location, self.keys(slices))
        try:
            self._array[slices].write(block).result()
        except (ValueError, OSError) as error:
            raise refusal(self.location, error, writing=True) from error
