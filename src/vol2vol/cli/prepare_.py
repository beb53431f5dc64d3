"""`vol2vol prepare INPUT OUTPUT [--recipe NAME | --crop ... --resample ...]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput
from vol2vol.preparation import parse_split
from vol2vol.recipes.preparing import plan_preparation, prepare

Number = Annotated[int | None, tyro.conf.arg(metavar="INT")]


def run(words: list[str]) -> None:
    """Parse the command line and prepare."""
    parse.call(_prepare, words, "prepare")


def _prepare(
    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")],
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    overrides: parse.Overrides = (),
    *,
    recipe: parse.Text = None,
    channels: parse.Text = None,
    crop: parse.Text = None,
    background: parse.Text = None,
    margin: Number = None,
    binarise: bool = False,
    ids: parse.Text = None,
    above: Annotated[float | None, tyro.conf.arg(metavar="VALUE")] = None,
    resample: parse.VoxelSize = None,
    method: parse.Text = None,
    dtype: parse.Text = None,
    range: parse.Text = None,
    split: parse.Text = None,
    gap: Number = None,
    mask: bool = False,
    chunks: parse.VoxelSize = None,
    shards: parse.VoxelSize = None,
    ome_version: Literal["0.5", "0.4"] | None = None,
    axes: parse.Axes = None,
    voxel_size: parse.VoxelSize = None,
    unit: parse.Text = None,
    level: Number = None,
    workers: int = 2,
    overwrite: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Crop, resample, binarise, convert or split a volume of any size; the same command continues after a kill.

    Steps given as flags are taken in the order in which they are listed here; a recipe may take any order.

    Args:
        input: any volume that can be read, s3:// included, or the name of one that the recipe knows.
        output: where to write: NAME.zarr (OME-Zarr) or NAME.tif; with a split NAME-PART.zarr.
        overrides: changes to the recipe, such as split.gap=16.
        recipe: a shipped recipe (mitoem, openorganelle, ...) or a YAML file, instead of steps as flags.
        channels: keep these channels, such as 0,2.
        crop: content, or a box in voxels, z0:z1,y0:y1,x0:x1 (any bound may be left out).
        background: for content, LOW:HIGH, the values that are not; default 0:0.
        margin: for content, voxels of background to keep on each side.
        binarise: make a mask, 1 where the value is not 0.
        ids: make a mask, 1 where the value is one of these, such as 3,7.
        above: make a mask, 1 where the value is greater.
        resample: bring it to this voxel size, in its own unit.
        method: how to resample: cubic, linear, area, nearest, majority; default majority for masks, else cubic.
        dtype: store as uint8, uint16, uint32, int16 or float32.
        range: with dtype, the values that become its ends: LOW:HIGH, type, minmax, percentile; keep changes none.
        split: several outputs, [AXIS:]NAME=SIZE,... in voxels (z:train=400,test=100) or shares (train=0.8,test=0.2).
        gap: voxels between the parts of a split.
        mask: the input is a mask or holds the numbers of objects: its values are never mixed.
        chunks: chunks of an OME-Zarr.
        shards: shards of an OME-Zarr 0.5, multiples of the chunks.
        ome_version: OME-Zarr version of the output.
        axes: axes of an input whose file does not say, such as zyx or cyx.
        voxel_size: voxel size of an input whose file does not say; to change it, see resample.
        unit: unit of the voxel size, such as nanometer.
        level: level of a multiscale input.
        workers: blocks computed at once, each in a thread; memory grows with it.
        overwrite: replace an existing output.
        dry_run: print steps, shapes, voxel sizes, bytes and memory; read and write nothing.
        json: print the result as JSON.
    """
    steps = [
        _step("channels", keep=_whole(channels, "--channels")),
        _step("crop", box=crop, background=_range(background, "--background"), margin=margin),
        _step("binarise", here=binarise, ids=_whole(ids, "--ids"), above=above),
        _step("resample", voxel_size=show.numbers(resample, "--resample"), method=method),
        _step("convert", dtype=dtype, range=_range(range, "--range")),
    ]
    given = {
        "steps": [step for step in steps if step],
        "split": {**parse_split(split), **({} if gap is None else {"gap": gap})} if split else None,
        "labels": mask or None,
        "chunks": _whole(chunks, "--chunks"),
        "shards": _whole(shards, "--shards"),
        "ome_version": ome_version,
    }
    flags = {key: value for key, value in given.items() if value}
    if recipe is not None and flags:
        raise BadInput(f"--recipe and flags both say {', '.join(flags)}: give one of them, or change the recipe's file")
    told: Any = recipe if recipe is not None else flags
    about: dict[str, Any] = {
        "axes": axes,
        "voxel_size": show.numbers(voxel_size, "--voxel-size"),
        "unit": unit,
        "level": level,
    }
    if dry_run:
        plan = plan_preparation(input, output, told, overrides=overrides, workers=workers, **about)
        show.result(plan, as_json=json)
        return
    with show.block_progress() as progress:
        made = prepare(
            input, output, told, overrides=overrides, **about, overwrite=overwrite, workers=workers, progress=progress
        )
    show.result({one.output: {k: v for k, v in vars(one).items() if k != "output"} for one in made}, as_json=json)


def _step(name: str, *, here: bool = False, **said: Any) -> dict[str, Any] | None:
    """Return a step of what flags say, None where they say nothing."""
    told = {key: value for key, value in said.items() if value is not None}
    return {"step": name, **told} if told or here else None


def _whole(text: str | None, flag: str) -> list[int] | None:
    numbers = show.numbers(text, flag)
    if numbers is None:
        return None
    if odd := [number for number in numbers if not number.is_integer()]:
        raise BadInput(f"{flag} {text!r}: {odd[0]:g} is not a whole number")
    return [int(number) for number in numbers]


def _range(text: str | None, flag: str) -> list[float] | str | None:
    """Return the two numbers of LOW:HIGH; a word is left for the schema to judge."""
    if text is None or ":" not in text:
        return text
    return show.numbers(text.replace(":", ","), flag)
