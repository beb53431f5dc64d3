"""Folders of TIFF slices: one 2D image per file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vol2vol.errors import BadInput, Unreadable, one_line
from vol2vol.volumes.axes import natural
from vol2vol.volumes.stored import READ_ERRORS, Slices, Stored
from vol2vol.volumes.tiff import SUFFIXES, SegmentReader, open_tags, size_of, stamp


def open_folder(folder: Path) -> Stored:
    """Open a folder of TIFF slices, in natural order (2 before 10); a read decodes what it needs of each file.

    Files with other suffixes and hidden files are ignored. Raises `BadInput` naming the first slice that differs
    from the others in shape, dtype or number of pages.
    """
    paths = sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")),
        key=lambda p: natural(p.name),
    )
    if not paths:
        raise BadInput(f"{folder} is neither a Zarr or N5 nor a folder of TIFF slices: name a file inside it")
    with open_tags(paths[0]) as file:
        first = file.pages.first
        size, unit = size_of(file, None)
    axes = first.axes.replace("S", "C").lower()
    if not {"y", "x"} <= set(axes) <= {"y", "x", "c"}:
        raise BadInput(f"{paths[0]} is not a 2D image (axes {axes}): open it alone")
    for path in paths:
        _check(path, paths[0], (first.shape, first.dtype))

    def read(slices: Slices) -> np.ndarray:
        return np.stack([_slice(path, slices[1:]) for path in paths[slices[0]]])

    return Stored(
        path=str(folder),
        format="folder of TIFF slices",
        shape=(len(paths), *first.shape),
        dtype=np.dtype(first.dtype),
        axes="z" + axes,
        voxel_size={a: value for a, value in size.items() if a != "z"},
        unit=unit,
        chunks=(1, *SegmentReader([first], first).chunks),
        read=read,
        stamp=lambda: stamp(paths),
    )


def _check(path: Path, first: Path, expected: tuple[object, object]) -> None:
    """Raise `BadInput` unless a slice has one page of the shape and dtype of the first slice."""
    with open_tags(path) as file:
        page = file.pages.first
        if (page.shape, page.dtype) != expected:
            says = f"{page.shape} {page.dtype}, {first.name} is {expected[0]} {expected[1]}"
            raise BadInput(f"{path} is {says}: move it out of the folder")
        if len(file.pages) != 1:
            raise BadInput(f"{path} has {len(file.pages)} pages: a folder of slices has one per file")


def _slice(path: Path, region: Slices) -> np.ndarray:
    with open_tags(path) as file:
        page = file.pages.first
        try:
            return SegmentReader([page], page).read(0, region)
        except READ_ERRORS as error:
            raise Unreadable(f"{path} cannot be read ({one_line(error, 300)}): restore the file") from error
