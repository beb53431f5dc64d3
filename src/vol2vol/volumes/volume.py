"""Read and write any stored array lazily as `(C, Z, Y, X)`, box by box."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Unpack

import numpy as np

from vol2vol.errors import BadInput, CannotWrite, Unreadable, UserError, one_line
from vol2vol.geometry import Box, Shape, reflect
from vol2vol.shapes import Voxels, shaped
from vol2vol.volumes.axes import from_czyx, settle_axes, settle_time, tidy, to_czyx
from vol2vol.volumes.slicing import Sliceable
from vol2vol.volumes.space import settle_space
from vol2vol.volumes.stated import Stated
from vol2vol.volumes.stored import READ_ERRORS, Slices, Stored


class Volume(Sliceable):
    """A stored array as `(C, Z, Y, X)` with voxel size, unit and provenance; voxels are read on demand.

    Opened by `open_volume` and `create_volume`. It is indexed like a NumPy array of this shape (`volume[0, 10:20]` are
    ten planes of the first channel), and `np.asarray` and `dask.array.from_array` take it. A read holds at most two
    copies of its box, a few chunks being decoded and a bounded cache (Zarr and N5: about 64 MiB per process; compressed
    TIFF: 128 MiB per volume), never the volume. Reads may come from several threads. A pickled volume opens its file
    again where it arrives; processes that read must be spawned, not forked, once a Zarr or N5 volume has been opened.
    """

    def __init__(
        self,
        stored: Stored,
        *,
        reopen: Callable[[], Volume] | None = None,
        **stated: Unpack[Stated],
    ) -> None:
        if stored.dtype.kind not in "biuf":
            raise BadInput(f"{stored.path} holds {stored.dtype}: convert it to integers or floats")
        self._stored = stored
        self._reopen = reopen
        self.axes = settle_axes(stored.path, stored.axes, stored.shape, stated.get("axes"))
        self.time_points = self._along(stored.shape, "t")
        """Number of time points in the file."""
        self.time = settle_time(stored.path, self.time_points, stated.get("time"))
        """The time point that is read, counted from 0."""
        space = settle_space(stored, self.axes, stated)
        self.sized = space.voxel_size is not None
        """Whether its voxel size is known; if not, lengths are in voxels: `voxel_size` is 1 and `unit` is ""."""
        self.voxel_size: tuple[float, float, float] = space.voxel_size or (1.0, 1.0, 1.0)
        self.unit = space.unit
        self.placed = bool(space.offset)
        """Whether its file states its place (`offset`)."""
        self.offset = tuple(space.offset.get(axis, 0.0) for axis in "zyx")
        """Z, Y, X of the centre of the first voxel, in `unit`; 0 where it is not stated."""
        self.shape: Shape = tuple(self._along(stored.shape, axis) for axis in "czyx")
        kind = np.dtype(np.uint8) if stored.dtype.kind == "b" else stored.dtype
        self.dtype: np.dtype = kind.newbyteorder("=")

    def _along(self, sizes: Sequence[int], axis: str) -> int:
        return sizes[self.axes.index(axis)] if axis in self.axes else 1

    def __repr__(self) -> str:
        return f"<Volume {self.path} {self.shape} {self.dtype}>"

    def __reduce__(self) -> tuple[Callable[..., Volume], tuple[Any, ...]]:
        assert self._reopen is not None, "this volume was not opened by open_volume or create_volume"
        return self._reopen, ()

    def __enter__(self) -> Volume:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> str:
        """Where it is stored: a path, `file.h5:/dataset` or an address."""
        return self._stored.path

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.shape[1:]

    def place_of(self, box: Box) -> tuple[float, ...]:
        """Return Z, Y, X of the centre of a box's first voxel, in `unit`."""
        return tuple(tidy(o + a * v) for o, a, v in zip(self.offset, box.start, self.voxel_size, strict=True))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name per channel, `red, green, blue` for colours; empty where the file states none."""
        return tuple(self._stored.channel_names)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the files of its planes, in order; empty unless each plane has a file of its own."""
        return tuple(self._stored.members)

    @property
    def is_2d(self) -> bool:
        """Say whether it is stored without a z axis."""
        return "z" not in self.axes

    @property
    def chosen(self) -> Stated:
        """Which part of its file it is, as keywords of `open_volume`; empty where it is all of the file."""
        return {"time": self.time} if self.time_points > 1 else {}

    @property
    def chunks(self) -> Shape:
        """Channels and voxels along Z, Y, X that are read at once."""
        return tuple(self._along(self._stored.chunks, axis) for axis in "czyx")

    @property
    def shards(self) -> Shape:
        """Channels and voxels along Z, Y, X that one writer has to write at once."""
        return tuple(self._along(self._stored.shards or self._stored.chunks, axis) for axis in "czyx")

    @property
    def attrs(self) -> dict[str, Any]:
        """A copy of the stored attributes, without those that the format itself defines."""
        return dict(self._stored.attrs)

    def _slices(self, channels: slice, box: Box) -> Slices:
        assert Box.of(self.spatial).contains(box), f"{box} is not inside {self}"
        where = dict(zip("zyx", box.slices, strict=True))
        where |= {"c": channels, "t": slice(self.time, self.time + 1)}
        return tuple(where[axis] for axis in self.axes)

    @shaped
    def read(self, box: Box) -> Voxels:
        """Return the voxels of a box inside the volume, shape `(C, *box.shape)`, in native byte order.

        Raises `Unreadable`, naming file and box, where they cannot be decoded.
        """
        if box.size == 0:
            return np.empty((self.channels, *box.shape), self.dtype)
        return self._part(slice(0, self.channels), box)

    def _part(self, channels: slice, box: Box) -> np.ndarray:
        where = self._slices(channels, box)
        try:
            raw = self._stored.read(where)
        except UserError:
            raise
        except READ_ERRORS as error:
            raise Unreadable(
                f"{self.path}: {_box_text(box)} cannot be read ({_first_line(error)}): restore the file"
            ) from error
        return np.ascontiguousarray(to_czyx(raw, self.axes), dtype=self.dtype)

    @shaped
    def read_padded(self, box: Box) -> Voxels:
        """Return the voxels of any box, shape `(C, *box.shape)`, the volume mirrored beyond its border.

        The edge voxel is not repeated; far outside, mirror images repeat (`numpy.pad(mode="reflect")`). Only
        the voxels that appear in the box are read.
        """
        return read_mirrored(self.read, self.spatial, box)

    @shaped
    def write(self, box: Box, array: Voxels) -> None:
        """Write an array of shape `(C, *box.shape)` and the volume's dtype; it is on disk when `flush` returns.

        In a Zarr the box must consist of whole shards (or end where the volume ends), since a shard is written at once,
        by one writer. A TIFF takes any box.

        Raises `CannotWrite` on a full disk or missing permission.
        """
        write = self._writer()
        assert array.shape == (self.channels, *box.shape), (array.shape, self.channels, box)
        assert array.dtype == self.dtype, (array.dtype, self.dtype)
        for a, b, unit, size in zip(box.start, box.stop, self.shards[1:], self.spatial, strict=True):
            whole = a % unit == 0 and (b % unit == 0 or b == size)
            assert whole or not self._stored.aligned, f"{box} cuts through shards of {self.shards[1:]}"
        where = self._slices(slice(0, self.channels), box)
        try:
            write(where, from_czyx(array, self.axes))
        except UserError:
            raise
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{self.path}: {_box_text(box)} cannot be written ({_first_line(error)})") from error

    def _writer(self) -> Callable[[Slices, np.ndarray], None]:
        if self._stored.write is None:
            raise CannotWrite(f"{self.path} cannot be written to: only OME-Zarr and TIFF made by vol2vol can")
        return self._stored.write

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Add plain data to the stored attributes of an OME-Zarr or TIFF; equal names are replaced."""
        self._writer()
        assert self._stored.set_attrs is not None
        try:
            self._stored.set_attrs(attrs)
        except UserError:
            raise
        except OSError as error:
            raise CannotWrite(f"{self.path}: its attributes cannot be written ({_first_line(error)})") from error

    def flush(self) -> None:
        """Return when everything written is on disk."""
        self._stored.flush()

    def close(self) -> None:
        """Flush and close the file; the volume must not be used afterwards."""
        self._stored.flush()
        self._stored.close()

    def missing(self) -> list[str]:
        """Return the names of missing chunks or shards of an output of vol2vol; reads no voxel.

        Empty for other volumes, whose writers may leave out chunks of a single value.
        """
        return list(self._stored.missing())

    def __dask_tokenize__(self) -> object:
        return type(self).__name__, self.fingerprint()

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that change when the volume does: shape, voxel size, files and samples.

        Cheap: sizes and times of files (or the metadata of a chunked store), and the voxels of up to nine small boxes
        in the corners and the centre. A change that touches none of these goes unnoticed.
        """
        facts = [self.axes, self.shape, str(self.dtype), self.voxel_size, self.unit, self._stored.stamp()]
        facts += [self.time, self.offset]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for box in _samples(self.spatial):
            digest.update(self.read(box).tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the metadata as plain data, without reading voxels."""
        return {
            "path": self.path,
            "format": self._stored.format,
            "shape": list(self.shape),
            "axes": self.axes,
            "channels": list(self.channel_names),
            "dtype": str(self.dtype),
            "voxel_size": list(self.voxel_size) if self.sized else None,
            "unit": self.unit,
            "offset": list(self.offset) if self.placed else None,
            "time_points": self.time_points,
            "chunks": list(self.chunks[1:]),
            "shards": list(self.shards[1:]) if self._stored.shards else None,
            "levels": [dict(level) for level in self._stored.levels],
            "attrs": sorted(self.attrs),
        }


def read_mirrored(read: Callable[[Box], np.ndarray], spatial: Shape, box: Box) -> np.ndarray:
    """Return the voxels of any box, `(C, *box.shape)`, from a `read` for boxes inside a volume, mirrored at its border.

    `spatial` (Z, Y, X) is the shape of the volume. See `Volume.read_padded`.
    """
    inner = box & Box.of(spatial)
    over = [(i - a, b - j) for a, b, i, j in zip(box.start, box.stop, inner.start, inner.stop, strict=True)]
    if all(max(sides) < n for sides, n in zip(over, inner.shape, strict=True)):
        return np.pad(read(inner), [(0, 0), *over], mode="reflect") if inner != box else read(box)
    indices = [
        np.array([reflect(i, size) for i in range(a, b)])
        for a, b, size in zip(box.start, box.stop, spatial, strict=True)
    ]
    needed = Box(tuple(int(i.min()) for i in indices), tuple(int(i.max()) + 1 for i in indices))
    inside = read(needed)
    z, y, x = (i - low for i, low in zip(indices, needed.start, strict=True))
    return inside[:, z[:, None, None], y[:, None], x]


def _samples(spatial: Shape, side: int = 8) -> list[Box]:
    """Return small boxes in the corners and the centre of a volume."""
    corners = [[0, max(0, n - side)] for n in spatial]
    starts: set[Shape] = {(z, y, x) for z in corners[0] for y in corners[1] for x in corners[2]}
    starts.add(tuple(max(0, n // 2 - side // 2) for n in spatial))
    within = Box.of(spatial)
    return [Box(start, tuple(a + side for a in start)) & within for start in sorted(starts)]


def _box_text(box: Box) -> str:
    return "box " + ", ".join(f"{a}:{b}" for a, b in zip(box.start, box.stop, strict=True))


def _first_line(error: BaseException) -> str:
    """Return the first line of an error, without the reader's internals."""
    text = str(error).partition("\n")[0].partition(" [tensorstore_spec")[0]
    return one_line(text or error, 300)
