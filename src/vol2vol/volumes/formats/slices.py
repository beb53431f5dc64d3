"""Read folders of images, one 2D image per file, as the planes (and channels, time points) of one stack."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vol2vol.errors import BadInput, Unreadable, one_line
from vol2vol.geometry import Shape
from vol2vol.volumes.axes import natural
from vol2vol.volumes.display import RGB
from vol2vol.volumes.filenames import Arranged, arranged, in_order
from vol2vol.volumes.formats import pictures, tiff
from vol2vol.volumes.formats.segments import SegmentReader
from vol2vol.volumes.stored import READ_ERRORS, Slices, Stored

log = logging.getLogger(__name__)
FAMILIES = (tiff.SUFFIXES, pictures.SUFFIXES)
"""Suffixes of image files; in a folder that holds several families, the first one counts."""


class _Plane(Protocol):
    """A 2D image in a file of its own."""

    @property
    def shape(self) -> Shape: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def axes(self) -> str: ...
    @property
    def chunks(self) -> Shape: ...
    def read(self, region: Slices) -> np.ndarray: ...


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder in natural order (2 before 10): its TIFFs or, where there are none, PNG and JPEG.

    Hidden files and files with other suffixes are skipped.
    """
    visible = [p for p in folder.iterdir() if not p.name.startswith(".")]
    for suffixes in FAMILIES:
        if images := [p for p in visible if p.suffix.lower() in suffixes]:
            return sorted(images, key=lambda p: natural(p.name))
    return []


def open_folder(folder: Path, pattern: str | None = None) -> Stored:
    """Open a folder of images of one size as a stack; a read decodes only the parts it needs.

    Without a `pattern` the names must differ in one number, which counts the planes; see `filenames.arranged` for
    patterns. Raises `BadInput` naming the first image that differs from the others in shape, type or number of pages,
    and what `filenames.in_order` does.
    """
    paths = image_files(folder)
    if not paths:
        raise BadInput(
            f"{folder} holds neither a Zarr or N5 nor images (TIFF, PNG, JPEG): name the folder or file that does"
        )
    files = _arranged(folder, paths, pattern)
    planes = [_plane(folder / name) for name in files.names]
    first, where = planes[0], folder / files.names[0]
    if not {"y", "x"} <= set(first.axes) <= {"y", "x", "c"}:
        raise BadInput(f"{where} is not a 2D image (axes {first.axes}): open it alone")
    if "c" in files.axes and "c" in first.axes:
        raise BadInput(f"{where} is a colour image and holds all channels itself: write * in place of {{c}}")
    for path, plane in zip(files.names, planes, strict=True):
        _check(folder / path, plane, where, first)
    size, unit = tiff.size_of_page(where) if where.suffix.lower() in tiff.SUFFIXES else ({}, "")
    every = [folder / name for name in files.names]
    return Stored(
        path=str(folder),
        format=f"folder of {_family(where)} slices",
        shape=(*files.shape, *first.shape),
        dtype=first.dtype,
        axes=files.axes + first.axes,
        voxel_size={a: value for a, value in size.items() if a != "z"},
        unit=unit,
        chunks=(1,) * len(files.shape) + first.chunks,
        members=files.names if files.axes == "z" else (),
        read=_reader(planes, files.shape),
        stamp=lambda: tiff.stamp(every),
        channel_names=RGB if first.axes.endswith("c") and first.shape[-1] == 3 else files.channels,
    )


def _arranged(folder: Path, paths: Sequence[Path], pattern: str | None) -> Arranged:
    if pattern is None:
        names = in_order(folder, [path.name for path in paths])
        return Arranged(axes="z", shape=(len(names),), names=names)
    known = [suffix for suffixes in FAMILIES for suffix in suffixes]
    images = [p.name for p in folder.iterdir() if p.suffix.lower() in known and not p.name.startswith(".")]
    files = arranged(folder, images, pattern)
    if skipped := len(images) - len(files.names):
        log.info("%s: %d of %d images do not match the pattern and are skipped", folder, skipped, len(images))
    return files


def _family(path: Path) -> str:
    return "TIFF" if path.suffix.lower() in tiff.SUFFIXES else "PNG" if path.suffix.lower() == ".png" else "JPEG"


def _plane(path: Path) -> Any:
    return pictures.look(path) if path.suffix.lower() in pictures.SUFFIXES else _TiffPlane.look(path)


def _check(path: Path, plane: _Plane, where: Path, first: _Plane) -> None:
    """Raise `BadInput` unless an image has the shape and type of the first."""
    if (plane.shape, plane.dtype) != (first.shape, first.dtype):
        says = f"{plane.shape} {plane.dtype}, {where.name} is {first.shape} {first.dtype}"
        raise BadInput(f"{path} is {says}: move it out of the folder, or name the images one by one")


def _reader(planes: Sequence[_Plane], leading: Shape) -> Any:
    """Return a reader of blocks whose leading axes run over files."""

    def read(slices: Slices) -> np.ndarray:
        outer, region = slices[: len(leading)], slices[len(leading) :]
        places = product(*(range(s.start, s.stop) for s in outer))
        planes_read = np.stack([planes[int(np.ravel_multi_index(place, leading))].read(region) for place in places])
        return planes_read.reshape(*(s.stop - s.start for s in outer), *planes_read.shape[1:])

    return read


@dataclass(frozen=True, kw_only=True)
class _TiffPlane:
    """A TIFF of one page, opened whenever it is read."""

    path: Path
    shape: Shape
    dtype: np.dtype
    axes: str
    chunks: Shape

    @classmethod
    def look(cls, path: Path) -> _TiffPlane:
        """Read the tags of a TIFF; raise `BadInput` where it has several pages."""
        with tiff.open_tags(path) as file:
            page = file.pages.first
            if len(file.pages) != 1:
                raise BadInput(
                    f"{path} has {len(file.pages)} pages, a folder of slices one per file: name the file itself, {path}"
                )
            return cls(
                path=path,
                shape=tuple(page.shape),
                dtype=np.dtype(page.dtype),
                axes=page.axes.replace("S", "C").lower(),
                chunks=SegmentReader([page], page).chunks,
            )

    def read(self, region: Slices) -> np.ndarray:
        """Return a region of the page."""
        with tiff.open_tags(self.path) as file:
            page = file.pages.first
            try:
                return SegmentReader([page], page).read(0, region)
            except READ_ERRORS as error:
                raise Unreadable(f"{self.path} cannot be read ({one_line(error)}): restore the file") from error
