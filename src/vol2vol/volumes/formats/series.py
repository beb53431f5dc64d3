"""Find the pages of a TIFF that hold its voxels: most writers use one series, some one series per plane."""

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
"""Words in the names of extra pictures that slide scanners and Bio-Formats add to an image."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """Pages that form one array."""

    pages: Sequence[Any]
    keyframe: tifffile.TiffPage
    """The page whose tags are used to decode all others."""
    shape: Shape
    axes: str
    """tifffile's letters; `Q` where the file does not say."""
    dtype: np.dtype
    offset: int | None
    """Position of the first voxel if all voxels are contiguous in the opened file, else None."""
    files: Sequence[Path]
    """The files that hold the pages."""

    @property
    def leading(self) -> Shape:
        """Sizes of the axes that run over pages."""
        return self.shape[: len(self.shape) - len(self.keyframe.shape)]


def image_of(path: Path, series: Sequence[tifffile.TiffPageSeries], *, named: bool = False, ndim: int = 0) -> Image:
    """Return the image of a TIFF: its first series, or all series of the same kind as a stack.

    Pyramids, masks, thumbnails and pictures of labels are skipped. Series that are separate images
    (`named`: OME-TIFF) are stacked only where the user states as many axes (`ndim`) as the stack has. Raises `BadInput`
    naming the images or the first series of another kind, and where pages are missing.
    """
    first = series[0]
    alike = [first, *(other for other in series[1:] if not _extra(other, first))]
    for other in alike:
        _check_alike(path, series.index(other), other, first)
    shape, axes, offset = tuple(first.shape), first.axes, first.dataoffset
    if len(alike) > 1:
        kept = 0 if prod(shape) > prod(first.keyframe.shape) else len(shape) - len(first.keyframe.shape)
        shape, axes, offset = (len(alike), *shape[kept:]), "Q" + axes[kept:], None
        if named and ndim != len(shape):
            raise BadInput(
                f"{path} holds {len(alike)} images of one shape, such as stage positions: choose one with `image`, "
                f"{listed(series)}{_as_one(axes)}"
            )
    pages: Sequence[Any] = first.pages if len(alike) == 1 else [page for other in alike for page in other.pages]
    files = sorted({Path(page.parent.filehandle.path) for page in pages if page is not None})
    if [file.name for file in files] != [path.name]:
        offset = None  # tifffile counts it in the file of the page, which is another
    image = Image(
        pages=pages,
        keyframe=first.keyframe,
        shape=tuple(shape),
        axes=axes,
        dtype=first.dtype,
        offset=offset,
        files=files,
    )
    if offset is None and prod(image.leading) != len(pages):
        raise BadInput(f"{path} has pages of different kinds: re-save it as one stack")
    return image


def _as_one(axes: str) -> str:
    """Return a hint how to read several images as one volume; `axes` are tifffile's, of which `Q` is unknown.

    It is empty where all letters are in use.
    """
    known = [letter if letter in "tczyx" else "?" for letter in axes.lower().replace("s", "c")]
    free = [letter for letter in "zct" if letter not in known]
    if len(free) < known.count("?"):
        return ""
    kind = {"z": "planes", "c": "channels", "t": "time points"}[free[0]]
    letters = "".join(free.pop(0) if letter == "?" else letter for letter in known)
    return f"; or, where they are the {kind} of one volume, give `axes` {letters}"


def _extra(series: tifffile.TiffPageSeries, first: tifffile.TiffPageSeries) -> bool:
    """Say whether a series is a smaller copy, a mask or a picture of something else, by its flags or its name."""
    named = [bool(EXTRAS & set(re.findall("[a-z]+", name.lower()))) for name in (series.name, first.name)]
    return bool(series.keyframe.is_reduced or series.keyframe.is_mask) or named == [True, False]


def _check_alike(path: Path, number: int, series: tifffile.TiffPageSeries, first: tifffile.TiffPageSeries) -> None:
    """Raise `BadInput` unless a series can be stacked with the first and decoded with its tags."""
    for attribute, value, expected in (
        ("shape", tuple(series.shape), tuple(first.shape)),
        ("type", series.dtype, first.dtype),
        ("compression", _compression(series), _compression(first)),
        ("tiling or colours", series.keyframe.hash, first.keyframe.hash),
    ):
        if value != expected:
            difference = "" if attribute.startswith("tiling") else f" ({value}, the first has {expected})"
            raise BadInput(
                f"{path}: its image {number} (counted from 0) has another {attribute}{difference}: "
                "choose one with `image`, such as `image` 0, or re-save those you need as one stack"
            )


def _compression(series: tifffile.TiffPageSeries) -> str:
    """Return the name of a compression, or its number if tifffile does not know it."""
    kind = series.keyframe.compression
    return str(getattr(kind, "name", kind)).lower()
