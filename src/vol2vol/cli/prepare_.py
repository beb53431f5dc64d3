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
    """A recipe as flags; its steps are taken in the order in which they stand here."""

    crop: parse.Text = None
    """content, or a box in voxels, z0:z1,y0:y1,x0:x1 (any bound may be left out)."""
    background: parse.Text = None
    """with --crop content, the values of background, LOW:HIGH (0:0 unless given)."""
    margin: Number = None
    """with --crop content, voxels of background to keep on each side."""
    binarise: bool = False
    """make a mask of labels or of another mask: 1 where the value is not 0."""
    ids: parse.Text = None
    """make a mask, 1 where the value is one of these, such as 3,7."""
    above: Value = None
    """make a mask, 1 where the value is greater."""
    resample: parse.VoxelSize = None
    """resample to this voxel size, in the unit of the input."""
    method: parse.Text = None
    """with --resample, the method: cubic, linear, area, nearest or majority (majority for masks, else cubic)."""
    dtype: parse.Text = None
    """convert to uint8, uint16, uint32, int16 or float32."""
    range: parse.Text = None
    """with --dtype, the values that become the ends of the type: LOW:HIGH, type, minmax or percentile; keep changes no
    value."""
    split: parse.Text = None
    """write several outputs, [AXIS:]NAME=SIZE,... in voxels (z:train=400,test=100) or shares (train=0.8,test=0.2)."""
    gap: Number = None
    """with --split, voxels left out between the parts."""
    mask: bool = False
    """the input is a mask or an instance-label image: its values are never averaged."""
    chunks: parse.VoxelSize = None
    """chunk size of an OME-Zarr output."""
    shards: parse.VoxelSize = None
    """shard size of an OME-Zarr 0.5 output, a multiple of the chunk size."""
    ome_version: Literal["0.5", "0.4"] | None = None
    """OME-Zarr version of the output (0.5 unless given)."""

    def recipe(self) -> dict[str, Any]:
        """Return what the flags say as a recipe's data, for the schema to judge."""
        self._refuse_alone()
        steps = [
            _step("crop", box=self.crop, background=_range(self.background, "--background"), margin=self.margin),
            _step("binarise", here=self.binarise, ids=_whole(self.ids, "--ids"), above=self.above),
            _step("resample", voxel_size=show.numbers(self.resample, "--resample"), method=self.method),
            _step("convert", dtype=self.dtype, range=_range(self.range, "--range")),
        ]
        gap = {} if self.gap is None else {"gap": self.gap}
        given = {
            "steps": [step for step in steps if step],
            "split": {**parse_split(self.split), **gap} if self.split is not None else None,
            "labels": self.mask or None,
            "chunks": _whole(self.chunks, "--chunks"),
            "shards": _whole(self.shards, "--shards"),
            "ome_version": self.ome_version,
        }
        return {key: value for key, value in given.items() if value}

    def _refuse_alone(self) -> None:
        """Raise `BadInput` for a flag without the one whose step it belongs to."""
        for name, needs, how in (
            ("background", "crop", "says what --crop content leaves out: give --crop content"),
            ("margin", "crop", "is left around what --crop content keeps: give --crop content"),
            ("method", "resample", "says how --resample is done: give --resample Z,Y,X too"),
            ("range", "dtype", "says which values become the ends of --dtype: give --dtype too"),
            ("gap", "split", "lies between the parts of a split: give --split too"),
        ):
            given = getattr(self, needs)
            if getattr(self, name) is not None and (given is None or (needs == "crop" and given != "content")):
                raise BadInput(f"--{name} {how}")


def _prepare(
    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")],
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    overrides: parse.Overrides = (),
    flags: tyro.conf.OmitArgPrefixes[Flags] = Flags(),
    *,
    recipe: parse.Text = None,
    about: parse.About = parse.SAID,
    level: Number = None,
    workers: int = 2,
    overwrite: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Crop, resample, binarise, convert or split a volume of any size; the same command continues after a stop.

    Args:
        input: any volume that can be read, s3:// included, or the name of one that the recipe knows.
        output: where to write: NAME.zarr (OME-Zarr) or NAME.tif; with a split NAME-PART.zarr.
        overrides: changes to the recipe, such as split.gap=16; they may stand anywhere.
        flags: steps, taken in this order (instead of --recipe).
        recipe: a shipped recipe (mitoem, openorganelle, ...) or a YAML file, with steps in any order.
        about: metadata missing from the volume files.
        level: resolution level of a multiscale input, 0 being the finest.
        workers: blocks computed at once, each in a thread; memory grows with it.
        overwrite: replace an output that exists.
        dry_run: print steps, shapes, voxel sizes, bytes and memory; read and write nothing.
        json: print the result as JSON.
    """
    said = flags.recipe()
    if recipe is not None and said:
        raise BadInput(f"--recipe and flags both say {', '.join(said)}: give one of them, or change the recipe's file")
    told: Any = said if recipe is None else recipe
    how: dict[str, Any] = {**about.keywords(), "level": level, "overrides": overrides, "workers": workers}
    if dry_run:
        show.result(plan_preparation(input, output, told, **how), as_json=json)
        return
    with show.block_progress() as progress:
        made = prepare(input, output, told, **how, overwrite=overwrite, progress=progress)
    show.result({one.output: {k: v for k, v in vars(one).items() if k != "output"} for one in made}, as_json=json)


def _step(name: str, *, here: bool = False, **said: Any) -> dict[str, Any] | None:
    """Return a step of what flags say, None where they say nothing."""
    told = {key: value for key, value in said.items() if value is not None}
    return {"step": name, **told} if told or here else None


def _whole(text: str | None, flag: str) -> list[int] | None:
    """Return the whole numbers of a flag."""
    numbers = show.numbers(text, flag)
    if odd := [number for number in numbers or () if not number.is_integer()]:
        raise BadInput(f"{flag} {text!r}: {odd[0]:g} is not a whole number")
    return None if numbers is None else [int(number) for number in numbers]


def _range(text: str | None, flag: str) -> list[float] | str | None:
    """Return the two numbers of LOW:HIGH; a word is left for the schema to judge."""
    if text is None or ":" not in text:
        return text
    return show.numbers(text.replace(":", ","), flag)
