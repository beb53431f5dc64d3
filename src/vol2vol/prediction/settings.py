"""The settings of a prediction; one schema for Python and the command line."""

from __future__ import annotations

from math import inf, nan
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, parse_box
from vol2vol.plans import Strategy, Window

StoredType = Literal[
    "auto", "source", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"
]  # fmt: skip
Assembly = Literal["auto", "slices", "volume", "ortho"]
Statistics = Literal["calibrated", "global", "thumbnail", "tile"]
MEASURED: tuple[Statistics, ...] = ("global", "thumbnail")
"""Statistics that are measured on the input before anything is predicted."""
SHIFTED: tuple[Strategy, ...] = ("average", "blend", "disjoint")
"""Strategies whose tiles may start anywhere: what they give depends on it."""
_UNITS = {
    "": 1,
    "B": 1,
    "K": 10**3,
    "KB": 10**3,
    "M": 10**6,
    "MB": 10**6,
    "G": 10**9,
    "GB": 10**9,
    "T": 10**12,
    "TB": 10**12,
}


class PredictSettings(BaseModel):
    """How to apply a model to a volume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = "exact"
    """exact: seamless tile-and-stitch; printed: as in the paper (63/63); average; blend; disjoint (has seams); march:
    tile by tile, each shown what earlier ones painted, for models that were trained with stitching."""
    assembly: Assembly = "auto"
    """slices: plane by plane; volume: 3D tiles; ortho: mean of three slice directions; auto: slices for a 2D model,
    volume for a 3D one."""
    statistics: Statistics = "calibrated"
    """By which mean and variance normalisation layers work. calibrated: those in the model, the same for every tile;
    global: exactly those of the whole input, measured layer by layer before anything is predicted (slow);
    thumbnail: the same of the input averaged down to at most 64 voxels per axis (2D: 256), an approximation;
    tile: those of each tile, as published code predicts (average, blend, disjoint and march; has seams)."""
    direction: str = "forward"
    """Which translation of the model; of two domains, forward: source to target, backward: target to source."""
    outputs: tuple[str, ...] = ()
    """Domains to write, of those that the translation makes; by default all of them."""
    split_outputs: bool = False
    """Write a volume for each domain into the output, OUTPUT.zarr/DOMAIN, instead of the channels of one volume."""
    tile: str = "auto"
    """Voxels the network reads per axis: one number, or Z,Y,X; auto: exact plans are swept plane by plane, in
    columns as wide as the memory allows; other strategies use the training patch size."""
    halo: int | None = Field(default=None, ge=0)
    """Voxels discarded at each side of a tile (average, blend); default 16, less for small tiles."""
    overlap: int | None = Field(default=None, ge=0)
    """Voxels shared by neighbouring kept parts (average, blend); default 32, less for small tiles. For a march, of
    neighbouring tiles; default: the widest that training has shown."""
    keep: float | None = Field(default=None, ge=0, le=1)
    """Share of an overlap that the earlier tile keeps (march); default 0.5. 1: without a stitching strategy."""
    offset: str = "0"
    """Voxels by which all tiles start later (average, blend, disjoint): one number, or Z,Y,X. Off the network's stride
    lattice, a model that decides by the place on it shows that it does."""
    window: Window = "linear"
    """Weights of the overlap for blend: linear, gaussian or distance."""
    seed: int = Field(default=0, ge=0)
    """Of the noise that a model reads, where it was trained to read some; other seeds give other outputs."""
    noise: Literal["field", "tiles"] = "field"
    """field: one field of noise over the volume, which all tiles share; tiles: every tile has its own, for
    comparison."""
    batch_size: int = Field(default=1, ge=1)
    """Tiles per forward pass, where prediction goes tile by tile."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the network; sums and the output are float32 throughout."""
    roi: str | None = None
    """Region of interest in voxels, z0:z1,y0:y1,x0:x1 (any bound may be left out)."""
    raw: bool = False
    """Write the network's own float32 output instead of stored intensities."""
    dtype: StoredType = "auto"
    """Data type of the output; values are rounded and clipped, never wrapped. auto: that of the training volumes of the
    domain that is made, or of the input where the model does not record it; source: that of the input."""
    intensity_from: str | None = None
    """Measure the intensity range of this whole volume, usually the input itself, and use it instead of the training
    data's range."""
    any_intensity: bool = False
    """Predict even if the input's intensities do not fit those of the training data."""
    executor: Literal["local", "dask", "slurm"] = "local"
    """local: processes of this machine; dask: workers of Dask; slurm: submit a job array and return."""
    workers: int = Field(default=1, ge=1)
    """Processes (slurm: tasks of the array) that share the blocks, one per GPU if there are several; local: the first
    is this one, and others are started once the remaining work takes longer than their start."""
    scheduler: str | None = None
    """For dask: address of a running scheduler, or a YAML file of dask_jobqueue.SLURMCluster arguments."""
    sbatch: str = ""
    """For slurm: options of sbatch, such as "--partition=gpu --gres=gpu:1 --time=4:00:00 --mem=32G"."""
    memory: str = "auto"
    """Memory budget of all workers of one machine together (slurm: of each task), such as 8GB; auto: half of the free
    memory."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto: a GPU if there is one."""
    ome_version: Literal["0.5", "0.4"] = "0.5"
    """OME-Zarr version of the output: 0.5 is sharded, 0.4 is read by more tools."""
    pyramid: bool = True
    """Write coarser levels for viewers."""

    @field_validator("memory")
    @classmethod
    def _memory_is_bytes(cls, text: str) -> str:
        if text != "auto":
            parse_bytes(text)
        return text

    @model_validator(mode="after")
    def _has_an_effect(self) -> PredictSettings:
        for name, executor in (("scheduler", "dask"), ("sbatch", "slurm")):
            if getattr(self, name) and self.executor != executor:
                raise BadInput(f"{name} has no effect with executor {self.executor}: add `executor` {executor}")
        if self.statistics in MEASURED and self.assembly == "ortho":
            raise BadInput(f"statistics {self.statistics} are of one slicing, and ortho has three: use assembly slices")
        if self.statistics in MEASURED and self.executor == "slurm":
            raise BadInput(f"statistics {self.statistics} are measured before work is shared: use executor local")
        if self.keep is not None and self.strategy != "march":
            raise BadInput(f"keep has no effect with strategy {self.strategy}: leave it out, or use `strategy` march")
        if self.strategy == "march" and self.split_outputs:
            raise BadInput("a march writes what it shows, which is one volume: leave out `split_outputs`")
        return self

    def budget(self) -> int:
        """Return the bytes that one worker may use in addition to the program itself; 0 if none are left."""
        if self.memory == "auto":
            result: int = psutil.virtual_memory().available // 2 // self.sharing
            return result
        return max(0, parse_bytes(self.memory) // self.sharing - self.resident())

    @property
    def sharing(self) -> int:
        """Number of workers that share the memory budget; each task of a job array has its own."""
        return 1 if self.executor == "slurm" else self.workers

    def resident(self) -> int:
        """Return the bytes of the program itself if the budget includes them, as stated budgets do."""
        return 0 if self.memory == "auto" else int(psutil.Process().memory_info().rss)

    def tile_shape(self, dims: int) -> Shape | None:
        """Return the requested tile, one number per axis, or None for auto."""
        if self.tile == "auto":
            return None
        numbers = _numbers(self.tile, dims)
        if numbers is None or min(numbers) < 1:
            raise BadInput(f"tile {self.tile!r} is not auto, one number, or {dims} numbers with commas between them")
        return numbers

    def origin(self, dims: int) -> Shape:
        """Return the voxel at which the first tile starts, one number per axis.

        Raises `BadInput` for other texts, and where the strategy has tiles whose place is not free.
        """
        numbers = _numbers(self.offset, dims)
        if numbers is None or min(numbers) < 0:
            raise BadInput(
                f"offset {self.offset!r} is not one number, or {dims} numbers with commas between them, from 0"
            )
        if any(numbers) and self.strategy not in SHIFTED:
            raise BadInput(
                f"offset has no effect with strategy {self.strategy}: leave it out, or use strategy {SHIFTED[0]}"
            )
        return numbers

    def region(self, spatial: Shape) -> Box:
        """Return the region of interest within a volume of this shape; the whole volume if none is set."""
        if self.roi is None:
            return Box.of(spatial)
        return parse_box(self.roi, spatial, "roi")


def _numbers(text: str, count: int) -> Shape | None:
    """Return the whole numbers of a text with commas, one for all axes or one for each; None for other texts."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        return None
    numbers *= count if len(numbers) == 1 else 1
    return numbers if len(numbers) == count else None


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as `8GB`, `500M` or `1.5e9` (decimal units); raise `BadInput` for other texts."""
    compact = text.strip().upper().replace(" ", "")
    number = compact.rstrip("BKMGT")
    try:
        size = float(number) * _UNITS[compact[len(number) :]]
    except (ValueError, KeyError):
        size = nan
    if not 0 <= size < inf:
        raise BadInput(f"{text!r} is not a size: write 8GB or 500MB")
    return int(size)
