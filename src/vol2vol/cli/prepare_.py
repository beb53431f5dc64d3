"""`vol2vol prepare INPUT OUTPUT [--recipe NAME | --crop ... --resample ...]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput
from vol2vol.preparation import parse_split
from vol2vol.recipes.preparation import plan_preparation, prepare

Number = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Value = Annotated[float | None, tyro.conf.arg(metavar="VALUE")]


def run(words: list[str]) -> None:
    """Parse the command line and prepare."""
    parse.call(_prepare, words, "prepare")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The steps and settings of a recipe as options; the steps run in the order of the options here."""

    crop: Annotated[str | None, tyro.conf.arg(metavar="BOX")] = None
    """crop to content, or to a box in voxels, z0:z1,y0:y1,x0:x1 (any bound may be left out)."""
    background: Annotated[str | None, tyro.conf.arg(metavar="LOW:HIGH")] = None
    """with --crop content, the range of background values, LOW:HIGH (default: 0:0)."""
    margin: Number = None
    """with --crop content, voxels of background to keep on each side."""
    binarise: bool = False
    """make a mask from a label image or another mask: 1 where the value is not 0."""
    ids: Annotated[str | None, tyro.conf.arg(metavar="N[,N...]")] = None
    """make a mask of these labels, such as 3,7."""
    above: Value = None
    """make a mask of the voxels above this value."""
    resample: parse.VoxelSize = None
    """resample to this voxel size, in the unit of the input."""
    method: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """with --resample, the method: cubic, linear, area, nearest or majority (default: majority for masks, else
    cubic)."""
    dtype: Annotated[str | None, tyro.conf.arg(metavar="TYPE")] = None
    """convert to uint8, uint16, uint32, int16 or float32."""
    range: Annotated[str | None, tyro.conf.arg(metavar="RANGE")] = None
    """with --dtype, the values that are mapped to the ends of the type: LOW:HIGH, type, minmax or percentile; keep does
    not change values."""
    split: Annotated[str | None, tyro.conf.arg(metavar="PARTS")] = None
    """split into several outputs, [AXIS:]NAME=SIZE,... in voxels (z:train=400,test=100) or fractions
    (train=0.8,test=0.2)."""
    gap: Number = None
    """with --split, voxels left out between the parts."""
    mask: bool = False
    """the input is a mask or an instance-label image: its values are never averaged."""
    chunks: parse.VoxelSize = None
    """chunk size of an OME-Zarr output."""
    shards: parse.VoxelSize = None
    """shard size of an OME-Zarr 0.5 output, a multiple of the chunk size."""
    ome_version: Literal["0.5", "0.4"] | None = None
    """OME-Zarr version of the output (default: 0.5)."""

    def recipe(self) -> dict[str, Any]:
        """Return the options as the data of a recipe, to be checked by its schema."""
        self._check_together()
        steps = [
            _step("crop", box=self.crop, background=_range(self.background, "--background"), margin=self.margin),
            _step("binarise", here=self.binarise, ids=_whole(self.ids, "--ids"), above=self.above),
            _step("resample", voxel_size=show.numbers(self.resample, "--resample"), method=self.method),
            _step("convert", dtype=self.dtype, range=_range(self.range, "--range")),
        ]
        gap = {} if self.gap is None else {"gap": self.gap}
        recipe = {
            "steps": [step for step in steps if step],
            "split": {**parse_split(self.split), **gap} if self.split is not None else None,
            "labels": self.mask or None,
            "chunks": _whole(self.chunks, "--chunks"),
            "shards": _whole(self.shards, "--shards"),
            "ome_version": self.ome_version,
        }
        return {key: value for key, value in recipe.items() if value}

    def _check_together(self) -> None:
        """Raise `BadInput` for an option without the option that it belongs to."""
        for name, needs, cure in (
            ("background", "crop", "is an option of --crop content: add --crop content"),
            ("margin", "crop", "is an option of --crop content: add --crop content"),
            ("method", "resample", "is an option of --resample: add --resample Z,Y,X"),
            ("range", "dtype", "is an option of --dtype: add --dtype"),
            ("gap", "split", "is an option of --split: add --split"),
        ):
            step = getattr(self, needs)
            if getattr(self, name) is not None and (step is None or (needs == "crop" and step != "content")):
                raise BadInput(f"--{name} {cure}")


def _prepare(
    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")],
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    overrides: parse.Overrides = (),
    flags: tyro.conf.OmitArgPrefixes[Flags] = Flags(),
    *,
    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    about: parse.MetadataOptions = parse.NO_METADATA,
    level: Number = None,
    workers: int = 2,
    overwrite: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Crop, resample, binarise, convert or split a volume of any size; the same command continues after a stop.

    Args:
        input: any volume that can be read, also s3://, or the name of an input that the recipe lists.
        output: NAME.zarr (OME-Zarr) or NAME.tif; a split writes NAME-PART.zarr for each part.
        overrides: changes to the recipe, such as split.gap=16; they may stand anywhere.
        flags: steps, which run in this order (instead of --recipe).
        recipe: a shipped recipe (mitoem, openorganelle, ...) or a YAML file, with steps in any order.
        about: metadata missing from the volume files.
        level: resolution level of a multiscale input; 0 is the finest.
        workers: number of blocks computed at the same time, each in a thread; memory grows with it.
        overwrite: replace an output that exists.
        dry_run: print steps, shapes, voxel sizes, bytes and memory; read and write nothing.
        json: print the result as JSON.
    """
    own_recipe = flags.recipe()
    if recipe is not None and own_recipe:
        raise BadInput(f"--recipe and the options both set {', '.join(own_recipe)}: leave out one of them")
    steps: Any = own_recipe if recipe is None else recipe
    how: dict[str, Any] = {**about.keywords(), "level": level, "overrides": overrides, "workers": workers}
    if dry_run:
        show.result(plan_preparation(input, output, steps, **how), as_json=json)
        return
    with show.block_progress() as progress:
        outputs = prepare(input, output, steps, **how, overwrite=overwrite, progress=progress)
    show.result({part.output: {k: v for k, v in vars(part).items() if k != "output"} for part in outputs}, as_json=json)


def _step(name: str, *, here: bool = False, **options: Any) -> dict[str, Any] | None:
    """Return a step of a recipe from its options; None if there are none and it is not requested by itself."""
    settings = {key: value for key, value in options.items() if value is not None}
    return {"step": name, **settings} if settings or here else None


def _whole(text: str | None, flag: str) -> list[int] | None:
    """Return the whole numbers of an option."""
    numbers = show.numbers(text, flag)
    if odd := [number for number in numbers or () if not number.is_integer()]:
        raise BadInput(f"{flag} {text!r}: {odd[0]:g} is not a whole number")
    return None if numbers is None else [int(number) for number in numbers]


def _range(text: str | None, flag: str) -> list[float] | str | None:
    """Return the two numbers of LOW:HIGH; a word is returned as it is, to be checked by the schema."""
    if text is None or ":" not in text:
        return text
    return show.numbers(text.replace(":", ","), flag)
