"""Which pages of a TIFF are its voxels: most writers put all planes into one series, some each into its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.volumes.formats.ometiff import listed

if TYPE_CHECKING:
    import tifffile

EXTRAS = {"thumbnail", "label", "macro", "overview", "map"}
"""Words in the names of the pictures that slide scanners and Bio-Formats put beside an image."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """Pages that form one array."""

    pages: Sequence[Any]
    keyframe: tifffile.TiffPage
    """The page by which all others are decoded."""
    shape: Shape
    axes: str
    """tifffile's letters; `Q` where the file does not say."""
    dtype: np.dtype
    offset: int | None
    """Where the voxels begin, where all of them lie in one run of the file that was opened."""
    files: Sequence[Path]
    """The files they lie in."""

    @property
    def leading(self) -> Shape:
        """Sizes of the axes that run over pages."""
        return self.shape[: len(self.shape) - len(self.keyframe.shape)]


def image_of(path: Path, series: Sequence[tifffile.TiffPageSeries], *, named: bool = False, ndim: int = 0) -> Image:
    """Return the image of a TIFF: its first series, or where there are several alike, all of them, one behind another.

    Pyramids, masks, thumbnails and pictures of labels are left aside. Series that are images in their own right
    (`named`: OME-TIFF) are stacked only where the user states as many axes (`ndim`) as the stack has. Raises `BadInput`
    naming the images, the first series that is not like the first one, or where pages are missing between others.
    """
    first = series[0]
    alike = [first, *(one for one in series[1:] if not _extra(one, first))]
    for one in alike:
        _same(path, series.index(one), one, first)
    shape, axes, offset = tuple(first.shape), first.axes, first.dataoffset
    if len(alike) > 1:
        kept = 0 if prod(shape) > prod(first.keyframe.shape) else len(shape) - len(first.keyframe.shape)
        shape, axes, offset = (len(alike), *shape[kept:]), "Q" + axes[kept:], None
        if named and ndim != len(shape):
            raise BadInput(
                f"{path} holds {len(alike)} images of one shape, such as stage positions: choose one with --image, "
                f"{listed(series)}{_as_one(axes)}"
            )
    pages: Sequence[Any] = first.pages if len(alike) == 1 else [page for one in alike for page in one.pages]
    files = sorted({Path(page.parent.filehandle.path) for page in pages if page is not None})
    if [file.name for file in files] != [path.name]:
        offset = None  # tifffile counts it in the file of the page, which is another
    found = Image(
        pages=pages,
        keyframe=first.keyframe,
        shape=tuple(shape),
        axes=axes,
        dtype=first.dtype,
        offset=offset,
        files=files,
    )
    if offset is None and prod(found.leading) != len(pages):
        raise BadInput(f"{path} has pages of different kinds: re-save it as one stack")
    return found


def _as_one(axes: str) -> str:
    """Return the hint by which several images become one volume; `axes` are tifffile's, of which `Q` is unknown.

    It is empty where all letters are taken.
    """
    known = [letter if letter in "tczyx" else "?" for letter in axes.lower().replace("s", "c")]
    free = [letter for letter in "zct" if letter not in known]
    if len(free) < known.count("?"):
        return ""
    kind = {"z": "planes", "c": "channels", "t": "time points"}[free[0]]
    letters = "".join(free.pop(0) if letter == "?" else letter for letter in known)
    return f"; or, where they are the {kind} of one volume, give --axes {letters}"


def _extra(one: tifffile.TiffPageSeries, first: tifffile.TiffPageSeries) -> bool:
    """Say whether a series is a smaller copy, a mask or a picture of something else, by its flags or its name."""
    named = [bool(EXTRAS & set(re.findall("[a-z]+", name.lower()))) for name in (one.name, first.name)]
    return bool(one.keyframe.is_reduced or one.keyframe.is_mask) or named == [True, False]


def _same(path: Path, number: int, one: tifffile.TiffPageSeries, first: tifffile.TiffPageSeries) -> None:
    """Raise `BadInput` unless a series can be stacked with the first and decoded like it."""
    for what, now, was in (
        ("shape", tuple(one.shape), tuple(first.shape)),
        ("type", one.dtype, first.dtype),
        ("compression", _packing(one), _packing(first)),
        ("tiling or colours", one.keyframe.hash, first.keyframe.hash),
    ):
        if now != was:
            says = "" if what.startswith("tiling") else f" ({now}, the first has {was})"
            raise BadInput(
                f"{path}: its image {number} (counted from 0) has another {what}{says}: choose one with --image, such "
                "as --image 0, or re-save those you need as one stack"
            )


def _packing(series: tifffile.TiffPageSeries) -> str:
    """Return the name of a compression; of one that tifffile does not know, its number."""
    kind = series.keyframe.compression
    return str(getattr(kind, "name", kind)).lower()
