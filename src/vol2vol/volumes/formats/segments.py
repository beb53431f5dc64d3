"""Decode the strips and tiles of TIFF pages that a region touches, and cache the latest ones."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from vol2vol.errors import Unreadable
from vol2vol.geometry import Shape, ceil_div
from vol2vol.volumes.formats.coded_images import announced
from vol2vol.volumes.stored import Slices

if TYPE_CHECKING:
    import tifffile

CACHE_BYTES = 128 << 20
"""Bytes of decoded strips and tiles cached per volume."""
MOST_OPEN = 64
"""Number of open volumes above which files are opened for each read: processes may hold only some hundred open."""
JPEG = (6, 7, 34892, 33007)
"""Compressions whose segments need the tables of their page."""

_OLD_JPEG = 6
"""The compression in which a page may be a single image, whatever its strips."""
_SLACK = 1 << 16
"""Pixels that encoders may add to complete their blocks."""


class SegmentReader:
    """Reads regions of TIFF pages; decodes only the strips or tiles that they touch, and caches the latest."""

    def __init__(self, pages: Sequence[Any], keyframe: tifffile.TiffPage) -> None:
        self._pages = pages
        self._key = keyframe
        # Planes of separate samples are segments of their own, which `chunks` does not list.
        self.chunks: Shape = (1,) * (len(keyframe.shape) - len(keyframe.chunks)) + tuple(keyframe.chunks)
        whole = keyframe.shape if keyframe.compression == _OLD_JPEG else self.chunks
        self._pixels = _SLACK + 4 * prod(whole)
        self._grid = tuple(ceil_div(n, c) for n, c in zip(keyframe.shape, self.chunks, strict=True))
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._file = threading.Lock()

    def hold(self) -> None:
        """Count this reader among those of open volumes; above `MOST_OPEN`, files are open only during reads."""
        _HELD.add(self)
        if len(_HELD) > MOST_OPEN:
            self._key.parent.filehandle.close()

    def read(self, number: int, region: Slices) -> np.ndarray:
        """Return a region of one page, in the page's axes."""
        chunks = self.chunks
        out = np.empty([s.stop - s.start for s in region], self._key.dtype)
        spans = [range(s.start // c, -(-s.stop // c)) for s, c in zip(region, chunks, strict=True)]
        for place in product(*spans):
            start = [p * c for p, c in zip(place, chunks, strict=True)]
            segment = self._segment(number, place)
            ends = [a + n for a, n in zip(start, segment.shape, strict=True)]
            inside = [(max(s.start, a), min(s.stop, b)) for s, a, b in zip(region, start, ends, strict=True)]
            target = tuple(slice(a - s.start, b - s.start) for (a, b), s in zip(inside, region, strict=True))
            source = tuple(slice(a - o, b - o) for (a, b), o in zip(inside, start, strict=True))
            out[target] = segment[source]
        return out

    def _segment(self, number: int, place: tuple[int, ...]) -> np.ndarray:
        index = int(np.ravel_multi_index(place, self._grid))
        with self._lock:
            if (number, index) in self._kept:
                self._kept.move_to_end((number, index))
                return self._kept[number, index]
        segment = self._decode(number, index, place)
        with self._lock:
            if (number, index) not in self._kept:
                self._kept[number, index] = segment
                self._bytes += segment.nbytes
            while self._bytes > CACHE_BYTES:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment

    def _decode(self, number: int, index: int, place: tuple[int, ...]) -> np.ndarray:
        shape = [min(c, n - p * c) for p, c, n in zip(place, self.chunks, self._key.shape, strict=True)]
        data, tables = self._fetch(number, index)
        if not data:
            return np.full(shape, self._key.nodata, self._key.dtype)
        if (pixels := announced(data)) > self._pixels:
            raise ValueError(
                f"a part of page {number} is an image of {pixels} pixels, at most {self._pixels} fit there"
            )
        segment = np.asarray(self._key.decode(data, index, **tables)[0])
        if segment.size == prod(shape):
            return segment.reshape(shape)
        return segment.reshape(self.chunks)[tuple(slice(n) for n in shape)]  # a tile that extends beyond the page

    def _fetch(self, number: int, index: int) -> tuple[bytes, dict[str, Any]]:
        """Return the bytes of a segment, and the tables of its page if it needs them.

        Under one lock, since tifffile reads pages and their offsets on demand through the same file.
        """
        own = self._key.parent.filehandle
        with self._file:
            if own.closed:
                own.open()
            page = self._pages[number]
            if page is None:
                raise Unreadable(f"page {number} is missing")
            count, handle = page.databytecounts[index], page.parent.filehandle
            if handle.closed:
                handle.open()
            handle.seek(page.dataoffsets[index])
            data = handle.read(count)
            jpeg = self._key.compression in JPEG
            tables = {"jpegtables": page.jpegtables, "jpegheader": self._key.jpegheader} if jpeg else {}
            if len(_HELD) > MOST_OPEN:
                handle.close()
                own.close()
        if len(data) < count:
            raise EOFError(f"the file ends {count - len(data)} bytes early")
        return data, tables


_HELD: weakref.WeakSet[SegmentReader] = weakref.WeakSet()
"""Readers of volumes that are open."""
