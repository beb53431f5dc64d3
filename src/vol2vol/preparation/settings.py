"""Define the settings of a preparation: steps, split and storage; one schema for Python, YAML and command line."""

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
"""Settings that only OME-Zarr has."""
_Voxels = Annotated[int, Field(ge=1)]


class Split(BaseModel):
    """A division of the result into successive parts along an axis, each with its own output."""

    model_config = _STRICT

    parts: dict[str, int | float] = Field(min_length=1)
    """Name to size in voxels (integers), or name to fraction of the axis (0.8); the remainder is not written."""
    axis: Literal["z", "y", "x"] = "z"
    """The axis that is cut."""
    gap: int = Field(default=0, ge=0)
    """Voxels between two parts, which belong to neither."""

    @field_validator("parts")
    @classmethod
    def _parts_fit_together(cls, parts: dict[str, int | float]) -> dict[str, int | float]:
        if unfit := [name for name in parts if not _NAME.fullmatch(name)]:
            raise ValueError(f"{unfit[0]!r} cannot be part of a file name: use letters and digits")
        if len({type(size) for size in parts.values()}) > 1:
            raise ValueError("some parts are in voxels (400), others are fractions (0.8): give all in one way")
        if any(size <= 0 for size in parts.values()):
            raise ValueError("every part needs a positive size")
        return parts

    def boxes(self, spatial: Shape) -> dict[str, Box]:
        """Return the box of each part of a volume of this spatial shape; raise `BadInput` where they do not fit."""
        axis = "zyx".index(self.axis)
        length = spatial[axis] - self.gap * (len(self.parts) - 1)
        sizes = self._sizes(max(length, 0))
        if sum(sizes) > length or min(sizes) < 1:
            requested = ", ".join(f"{name} {size}" for name, size in zip(self.parts, sizes, strict=True))
            raise BadInput(
                f"split: {requested} voxels with gaps of {self.gap} do not fit into the {spatial[axis]} along "
                f"{self.axis}: make the parts or the gap smaller"
            )
        boxes, position = {}, 0
        for name, size in zip(self.parts, sizes, strict=True):
            start, stop = [0, 0, 0], list(spatial)
            start[axis], stop[axis] = position, position + size
            boxes[name] = Box(tuple(start), tuple(stop))
            position += size + self.gap
        return boxes

    def _sizes(self, length: int) -> list[int]:
        """Return the size of each part in voxels; cumulative fractions of the axis without its gaps are rounded."""
        if all(isinstance(size, int) for size in self.parts.values()):
            return [int(size) for size in self.parts.values()]
        ends, cumulative = [0], 0.0
        for fraction in self.parts.values():
            cumulative += fraction
            ends.append(round(cumulative * length))
        return [b - a for a, b in pairwise(ends)]


class Source(BaseModel):
    """The address and metadata of a published volume."""

    model_config = _STRICT

    address: str
    """Path or address, such as s3://bucket/volume.n5/raw."""
    voxel_size: tuple[float, float, float] | None = None
    """Z, Y, X; used where its own metadata give none."""
    unit: str | None = None
    """Unit of the voxel size; used where its own metadata give none."""
    level: int = Field(default=0, ge=0)
    """Level of a multiscale image."""


class Preparation(BaseModel):
    """Everything, except the input, that decides the bytes of a prepared volume."""

    model_config = _STRICT

    name: str = "custom"
    """Name of the preparation in records."""
    about: str = ""
    """Purpose of the preparation, and what is not known about its data."""
    inputs: dict[str, Source] = {}
    """Published volumes by name; the name can be given as input."""
    voxel_size: tuple[float, float, float] | None = None
    """Voxel size Z,Y,X of an input whose file gives none."""
    unit: str | None = None
    """Unit of that voxel size."""
    labels: bool | None = None
    """Whether the input is a mask or an instance-label image; by default 32- and 64-bit integers are labels."""
    steps: tuple[Step, ...] = ()
    """The steps, in order."""
    split: Split | None = None
    """Division of the result into several outputs."""
    chunks: tuple[_Voxels, _Voxels, _Voxels] | None = None
    """Chunks of an OME-Zarr, Z,Y,X; by default cubes of 64, or squares of 256 for a 2D image."""
    shards: tuple[_Voxels, _Voxels, _Voxels] | None = None
    """Shards of an OME-Zarr 0.5, multiples of the chunks; by default four chunks along each axis."""
    ome_version: Literal["0.5", "0.4"] = "0.5"
    """OME-Zarr version of the output."""
    pyramid: bool = True
    """Write coarser levels for viewers; labels other than masks of 0 and 1 get none, because levels are averages."""

    def outputs(self, output: str) -> dict[str, str]:
        """Return the path of each output by the name of its part; without a split, of one part with an empty name.

        Raises `BadInput` for the suffix of a format that cannot be written, and for a TIFF where chunks, shards or a
        version of OME-Zarr are given.
        """
        match = _OUTPUT.fullmatch(output)
        if match is None:
            raise BadInput(f"{output} cannot be written: let its name end in .zarr (OME-Zarr) or .tif")
        if match["suffix"].lower().endswith((".tif", ".tiff")) and (unfit := sorted(_ZARR & self.model_fields_set)):
            raise BadInput(f"{output} is a TIFF, which has no {unfit[0]}: leave it out, or let the name end in .zarr")
        if self.split is None:
            return {"": output}
        return {part: f"{match['stem']}-{part}{match['suffix']}" for part in self.split.parts}

    def record(self) -> dict[str, Any]:
        """Return the settings that decide the bytes, as plain data; a second start is compared with them."""
        stored = self.model_dump(mode="json", include={"chunks", "shards", "ome_version", "labels"})
        split = self.split.model_dump(mode="json") if self.split else None
        return {"steps": "; ".join(step.words() for step in self.steps) or "none", "split": split, **stored}


def parse_split(text: str) -> dict[str, Any]:
    """Return the settings of a `Split` from `[AXIS:]NAME=SIZE,...`, such as `z:train=400,test=100` or `a=0.8,b=0.2`.

    Raises `BadInput` where the text has another form or repeats a name.
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
