"""Read TIFF (images, stacks, ImageJ hyperstacks, OME-TIFF) segment by segment."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vol2vol.errors import NotFound, Unreadable, UserError, one_line
from vol2vol.files import DOCUMENT, check_regular, read_text
from vol2vol.geometry import Shape
from vol2vol.volumes.axes import known_unit
from vol2vol.volumes.formats import ome, ometiff
from vol2vol.volumes.formats.segments import SegmentReader
from vol2vol.volumes.formats.series import Image, image_of
from vol2vol.volumes.formats.tiffout import store_attrs
from vol2vol.volumes.stored import READ_ERRORS, Slices, Stored

if TYPE_CHECKING:
    import tifffile

log = logging.getLogger(__name__)
_ORIENTATION = 274
"""The tag of how a camera or scanner was held; microscopes and their programs leave it alone."""
SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".tf2")


def open_tags(path: Path, description: str | None = None) -> tifffile.TiffFile:
    """Open a TIFF and read the tags of its first page; raise `Unreadable` if it is not a TIFF.

    `description` is its OME-XML where that lies in another file.
    """
    import tifffile

    check_regular(path)
    file = None
    try:
        file = tifffile.TiffFile(path, omexml=description)
        file.pages.first  # noqa: B018  a file without a page fails here
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    except READ_ERRORS as error:
        if file is not None:
            file.close()
        raise Unreadable(f"{path} is not a readable TIFF ({one_line(error, 300)}): restore or re-save it") from error
    return file


def open_tiff(
    path: Path, *, image: int | str | None = None, axes: str | None = None, companion: Path | None = None
) -> Stored:
    """Open a TIFF of any kind; contiguous ones are memory-mapped, others decoded strip by strip.

    Of several images, `image` chooses one by name or by number from 0; where `axes` has as many letters as a stack of
    them has axes, images of one shape are read as that stack. A file of a set is read through its `companion`, or the
    TIFF of its folder that describes the set.
    """
    if path.name.lower().endswith(ometiff.COMPANIONS):
        companion, holder = path, ometiff.member_of(path)
    else:
        holder = path
    other = companion if companion and companion.suffix.lower() not in SUFFIXES else None
    file = open_tags(holder, read_text(other, DOCUMENT) if other else None)
    try:
        other = None if companion else ometiff.elsewhere(path, file, alone=axes is not None)
        if other is None:
            return _stored(path, file, image, axes)
    except BaseException as error:
        file.close()
        if isinstance(error, UserError) or not isinstance(error, READ_ERRORS):
            raise
        raise Unreadable(f"{path} is not a readable TIFF ({one_line(error, 300)}): restore or re-save it") from error
    file.close()
    return open_tiff(other if other.suffix.lower() in SUFFIXES else path, image=image, axes=axes, companion=other)


def _stored(path: Path, file: tifffile.TiffFile, image: int | str | None, axes: str | None) -> Stored:
    with _refuse_truncated(path):
        root, series = ometiff.described(path, file, image, alone=axes is not None)
        len(file.pages)
    pages = image_of(path, series, named=root is not None, ndim=len((axes or "").strip()))
    if (turned := pages.keyframe.tags.valueof(_ORIENTATION, 1)) in range(2, 9):
        log.warning("%s is to be shown turned or mirrored (orientation %d): it is read as stored", path, turned)
    size, unit = size_of(file, root)
    facts = _facts(path, root, pages, size, unit)
    if pages.offset is not None:
        file.close()
        return _mapped(path, np.dtype(file.byteorder + pages.dtype.char), pages.offset, facts)
    reader = SegmentReader(pages.pages, pages.keyframe)
    weakref.finalize(reader, file.close)
    reader.hold()
    chunks = (1,) * len(pages.leading) + reader.chunks
    read = _by_page(reader, pages.leading)
    return Stored(dtype=pages.dtype, chunks=chunks, read=read, close=file.close, **facts)


def _facts(path: Path, root: Any, pages: Image, size: dict[str, float], unit: str) -> dict[str, Any]:
    """Return the metadata of the image of a TIFF, as keywords of `Stored`."""
    letters = "".join({"S": "c"}.get(a, a if a in "TCZYX" else "?").lower() for a in pages.axes)
    count = pages.shape[letters.index("c")] if "c" in letters else 1
    return {
        "path": str(path),
        "format": "OME-TIFF" if root is not None else "TIFF",
        "shape": pages.shape,
        "axes": letters,
        "voxel_size": size,
        "unit": unit,
        "offset": ome.offset_from_xml(root, unit) if root is not None else {},
        "attrs": ome.attrs_from_xml(root) if root is not None else {},
        "channel_names": ometiff.channel_names(root, pages.keyframe, count),
        "stamp": lambda: stamp(pages.files),
    }


@contextmanager
def _refuse_truncated(path: Path) -> Iterator[None]:
    """Raise `Unreadable` where tifffile logs that the chain of pages leads out of the file."""
    messages: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
    if any("invalid page offset" in line or "tag list of page" in line for line in messages):
        raise Unreadable(f"{path} is cut off: some of its pages are missing: restore the file")


def _by_page(reader: SegmentReader, leading: Shape) -> Any:
    """Return a reader of blocks whose leading axes run over pages."""

    def read(slices: Slices) -> np.ndarray:
        outer, region = slices[: len(leading)], slices[len(leading) :]
        outer_shape = [s.stop - s.start for s in outer]
        pages = [
            reader.read(int(np.ravel_multi_index(at, leading)) if leading else 0, region)
            for at in product(*(range(s.start, s.stop) for s in outer))
        ]
        return np.stack(pages).reshape(*outer_shape, *pages[0].shape)

    return read


def _mapped(path: Path, dtype: np.dtype, offset: int, facts: dict[str, Any]) -> Stored:
    """Open uncompressed, contiguous image data as a memory map; an OME-TIFF can be written to as well."""
    shape = facts["shape"]
    needed = offset + prod(shape) * dtype.itemsize
    if path.stat().st_size < needed:
        raise Unreadable(f"{path} is cut off: it has {path.stat().st_size} of {needed} bytes: restore the file")
    voxels = functools.cache(lambda: np.memmap(path, dtype, "r", offset, shape))
    writing: list[np.memmap] = []
    plane = 3 if facts["axes"].endswith("yxc") else 2

    def write(slices: Slices, block: np.ndarray) -> None:
        if not writing:
            writing.append(np.memmap(path, dtype, "r+", offset, shape))
        writing[0][slices] = block

    def flush() -> None:
        for mapped in writing:
            mapped.flush()

    def set_attrs(new: Mapping[str, Any]) -> None:
        store_attrs(path, {**facts["attrs"], **new})
        facts["attrs"].update(new)

    ours = facts["format"] == "OME-TIFF"
    return Stored(
        dtype=dtype,
        chunks=(1,) * (len(shape) - plane) + tuple(shape[-plane:]),
        aligned=False,
        read=lambda slices: np.array(voxels()[slices]),
        write=write if ours else None,
        set_attrs=set_attrs if ours else None,
        flush=flush,
        **facts,
    )


def stamp(paths: Sequence[Path]) -> list[Any]:
    """Return name, size and modification time of files."""
    return [[p.name, (info := p.stat()).st_size, info.st_mtime_ns] for p in paths]


def size_of(file: tifffile.TiffFile, root: Any) -> tuple[dict[str, float], str]:
    """Return the voxel size from OME-XML or ImageJ metadata; the resolution of other TIFFs is that of a printer."""
    if root is not None:
        return ome.size_from_xml(root)
    metadata = file.imagej_metadata if file.is_imagej else None
    unit = known_unit(metadata.get("unit")) if metadata else ""
    if not metadata or not unit:
        return {}, ""
    x, y = file.pages.first.resolution
    size = {"y": 1 / y, "x": 1 / x} if x and y else {}
    if metadata.get("spacing"):
        size["z"] = abs(float(metadata["spacing"]))
    return {a: float(f"{value:.9g}") for a, value in size.items()}, unit


def size_of_page(path: Path) -> tuple[dict[str, float], str]:
    """Return the voxel size that the first page of a TIFF states, without its OME-XML."""
    with open_tags(path) as file:
        return size_of(file, None)
