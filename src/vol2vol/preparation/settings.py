"""What a preparation can be told: its steps, a split, and how the output is stored; one schema for all doors."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.preparation.steps import Step

_NAME = re.compile(r"[\w-]+")
_OUTPUT = re.compile(r"(?P<stem>.*?)(?P<suffix>(?:\.ome)?\.(?:zarr|tiff?))[/\\]?", re.IGNORECASE)
_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
_ZARR = {"chunks", "shards", "ome_version"}
"""What is said of OME-Zarr alone."""
_Voxels = Annotated[int, Field(ge=1)]


class Split(BaseModel):
    """Parts of the result, one behind the other along an axis, each written to an output of its own."""

    model_config = _STRICT

    parts: dict[str, int | float] = Field(min_length=1)
    """Name to voxels (whole numbers), or name to share of the axis (0.8); what is left over is written nowhere."""
    axis: Literal["z", "y", "x"] = "z"
    """The axis that is cut."""
    gap: int = Field(default=0, ge=0)
    """Voxels between two parts that belong to neither."""

    @field_validator("parts")
    @classmethod
    def _parts_fit_together(cls, parts: dict[str, int | float]) -> dict[str, int | float]:
        if odd := [name for name in parts if not _NAME.fullmatch(name)]:
            raise ValueError(f"{odd[0]!r} cannot be part of a file name: use letters and digits")
        if len({type(size) for size in parts.values()}) > 1:
            raise ValueError("some parts are voxels (400), some shares (0.8): give all in one way")
        if any(size <= 0 for size in parts.values()):
            raise ValueError("every part needs a positive size")
        return parts

    def boxes(self, spatial: Shape) -> dict[str, Box]:
        """Return the box of each part of a volume of this shape; raise `BadInput` where they do not fit in."""
        axis = "zyx".index(self.axis)
        length = spatial[axis] - self.gap * (len(self.parts) - 1)
        sizes = self._sizes(max(length, 0))
        if sum(sizes) > length or min(sizes) < 1:
            wanted = ", ".join(f"{name} {size}" for name, size in zip(self.parts, sizes, strict=True))
            raise BadInput(
                f"split: {wanted} voxels with gaps of {self.gap} do not fit into the {spatial[axis]} along "
                f"{self.axis}: make the parts or the gap smaller"
            )
        found, at = {}, 0
        for name, size in zip(self.parts, sizes, strict=True):
            start, stop = [0, 0, 0], list(spatial)
            start[axis], stop[axis] = at, at + size
            found[name] = Box(tuple(start), tuple(stop))
            at += size + self.gap
        return found

    def _sizes(self, length: int) -> list[int]:
        """Return the voxels of each part; shares end at the rounded share of what is left beside the gaps."""
        if all(isinstance(size, int) for size in self.parts.values()):
            return [int(size) for size in self.parts.values()]
        ends, so_far = [0], 0.0
        for share in self.parts.values():
            so_far += share
            ends.append(round(so_far * length))
        return [b - a for a, b in pairwise(ends)]


class Source(BaseModel):
    """A published volume that a recipe knows where to find."""

    model_config = _STRICT

    address: str
    """Path or address, such as s3://bucket/volume.n5/raw."""
    voxel_size: tuple[float, float, float] | None = None
    """Z, Y, X, where its own metadata do not say."""
    unit: str | None = None
    """Unit of the voxel size, where its own metadata do not say."""
    level: int = Field(default=0, ge=0)
    """Level of a multiscale image."""


class Preparation(BaseModel):
    """Everything that decides the bytes of a prepared volume, besides the input."""

    model_config = _STRICT

    name: str = "custom"
    """What the preparation is called in records."""
    about: str = ""
    """What it is for, and what is not known about it."""
    inputs: dict[str, Source] = {}
    """Published volumes it was written for, by the name that stands for them."""
    voxel_size: tuple[float, float, float] | None = None
    """Voxel size Z,Y,X of an input whose file does not say."""
    unit: str | None = None
    """Unit of that voxel size."""
    labels: bool | None = None
    """Whether the input is a mask or holds the numbers of objects; by default 32- and 64-bit integers are."""
    steps: tuple[Step, ...] = ()
    """What is done, one after the other."""
    split: Split | None = None
    """Several outputs instead of one."""
    chunks: tuple[_Voxels, _Voxels, _Voxels] | None = None
    """Chunks of an OME-Zarr, Z,Y,X; by default cubes of 64, squares of 256 for an image."""
    shards: tuple[_Voxels, _Voxels, _Voxels] | None = None
    """Shards of an OME-Zarr 0.5, multiples of the chunks; by default four chunks along each axis."""
    ome_version: Literal["0.5", "0.4"] = "0.5"
    """OME-Zarr version of the output."""
    pyramid: bool = True
    """Write coarser levels for viewers; labels other than masks of 0 and 1 get none, as they would be averaged."""

    def outputs(self, output: str) -> dict[str, str]:
        """Return the outputs by the name of their part; without a split there is one, of no name.

        Raises `BadInput` for a name of no format that is written, and for a TIFF where chunks, shards or a version of
        OME-Zarr are given.
        """
        named = _OUTPUT.fullmatch(output)
        if named is None:
            raise BadInput(f"{output} cannot be written: let its name end in .zarr (OME-Zarr) or .tif")
        if named["suffix"].lower().endswith((".tif", ".tiff")) and (said := sorted(_ZARR & self.model_fields_set)):
            raise BadInput(f"{output} is a TIFF, which has no {said[0]}: leave it out, or let the name end in .zarr")
        if self.split is None:
            return {"": output}
        return {part: f"{named['stem']}-{part}{named['suffix']}" for part in self.split.parts}

    def record(self) -> dict[str, Any]:
        """Return, in words, what decides the bytes: what a second start is compared with."""
        stored = self.model_dump(mode="json", include={"chunks", "shards", "ome_version", "labels"})
        split = self.split.model_dump(mode="json") if self.split else None
        return {"steps": "; ".join(step.words() for step in self.steps) or "none", "split": split, **stored}


def parse_split(text: str) -> dict[str, Any]:
    """Return as plain data what `[AXIS:]NAME=SIZE,...` means, such as `z:train=400,test=100` or `a=0.8,b=0.2`.

    Raises `BadInput`.
    """
    axis, colon, rest = text.partition(":")
    parts: dict[str, int | float] = {}
    for part in (rest if colon else text).split(","):
        name, _, size = part.partition("=")
        try:
            amount = float(size) if "." in size else int(size)
        except ValueError:
            raise BadInput(f"split {text!r} is not NAME=SIZE,..., such as z:train=0.8,test=0.2") from None
        if name.strip() in parts:
            raise BadInput(f"split {text!r} names {name.strip()} twice: give every part a name of its own")
        parts[name.strip()] = amount
    return {"parts": parts, **({"axis": axis.strip()} if colon else {})}
