"""Check the decompressed size in the headers of Blosc chunks, which tensorstore trusts up to 2 GiB per chunk.

Other codecs of Zarr and N5 are decompressed piece by piece and stop where a chunk is larger than it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.volumes.stored import Slices

Read = Callable[[str, slice], bytes | None]
"""Returns a range of the bytes under a key, None if it does not exist."""
_HEADER = 16
_MISSING = 2**64 - 1
"""Offset of a missing chunk in the index of a shard."""
_COMPRESSIONS = ("blosc", "gzip", "zstd")


@dataclass(frozen=True, kw_only=True)
class BloscChunks:
    """The chunks of an array, and the position of their headers."""

    chunks: Shape
    shards: Shape
    nbytes: int
    """Bytes of a chunk, at most."""
    before: int = 0
    """Bytes before the header of a chunk that is not in a shard."""
    index: np.dtype | None = None
    """Type of the numbers in the index of a shard; None where there are no shards."""
    index_first: bool = False
    checksum: bool = False
    """Whether four bytes follow the index."""

    @classmethod
    def of(
        cls, kind: str, metadata: Mapping[str, Any], chunks: Shape, shards: Shape, itemsize: int
    ) -> BloscChunks | None:
        """Return how to check an array from its metadata, as tensorstore returns them; None without Blosc.

        Raises `BadInput` where another codec compresses the chunks as well.
        """
        plain = cls(chunks=chunks, shards=shards, nbytes=prod(chunks) * itemsize)
        if kind == "n5":
            blosc = metadata["compression"]["type"] == "blosc"
            return replace(plain, before=4 + 4 * len(chunks)) if blosc else None
        if kind == "zarr":
            return plain if (metadata["compressor"] or {}).get("id") == "blosc" else None
        codecs = metadata["codecs"]
        shard = next((codec["configuration"] for codec in codecs if codec["name"] == "sharding_indexed"), None)
        names = [codec["name"] for codec in (codecs if shard is None else shard["codecs"])]
        if "blosc" not in str(codecs):
            return None
        if [name for name in names if name in (*_COMPRESSIONS, "sharding_indexed")] != ["blosc"]:
            raise BadInput("its chunks are compressed with Blosc and something else: write it again with one of them")
        if shard is None:
            return plain
        index = {codec["name"]: codec.get("configuration", {}) for codec in shard["index_codecs"]}
        return replace(
            plain,
            index=np.dtype("<u8" if index["bytes"].get("endian", "little") == "little" else ">u8"),
            index_first=shard.get("index_location") == "start",
            checksum="crc32c" in index,
        )

    def check(self, slices: Slices, key: Callable[[Iterable[int]], str], read: Read) -> None:
        """Raise `ValueError` if a chunk that a block touches is larger than it should be; `key` names a shard."""
        spans = [range(s.start // n, -(-s.stop // n)) for s, n in zip(slices, self.shards, strict=True)]
        for place in product(*spans):
            name = key(place)
            for start in self._headers(name, place, slices, read):
                header = read(name, slice(start, start + _HEADER)) or b""
                if (inflated := int.from_bytes(header[4:8], "little")) > self.nbytes:
                    raise ValueError(f"{name} inflates to {inflated} bytes, a chunk has {self.nbytes}")

    def _headers(self, name: str, place: Shape, slices: Slices, read: Read) -> Iterator[int]:
        """Yield the header positions of the chunks of a shard that a block touches."""
        if self.index is None:
            yield self.before
            return
        counts = [shard // chunk for shard, chunk in zip(self.shards, self.chunks, strict=True)]
        size, extra = 16 * prod(counts), 4 * self.checksum
        data = read(name, slice(0, size) if self.index_first else slice(-size - extra, None))
        if data is None or len(data) < size:
            return  # missing or truncated
        offsets = np.frombuffer(data[:size], self.index)[::2].reshape(counts)
        inside = (
            slice(max(s.start - p * n, 0) // c, -(-min(s.stop - p * n, n) // c))
            for s, p, n, c in zip(slices, place, self.shards, self.chunks, strict=True)
        )
        yield from (int(offset) for offset in offsets[tuple(inside)].flat if offset != _MISSING)
