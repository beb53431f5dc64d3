"""Prepare volumes by recipe: shipped ones for published data, YAML files, or plain data."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from pydantic import ValidationError

from vol2vol import preparation
from vol2vol.errors import BadInput, NotFound
from vol2vol.preparation import Preparation, Prepared
from vol2vol.preparation.output import Progress
from vol2vol.preparation.preparing import WORKERS
from vol2vol.recipes.yamlfiles import Shelf, explain
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import address, is_remote

SHELF = Shelf(
    what="recipe", package="vol2vol.recipes", folder="preparations", example="split.gap=16", verb="recipes mitoem"
)
Told = str | Path | Mapping[str, Any] | Preparation


def list_preparations() -> dict[str, str]:
    """Return the shipped recipes of preparations: name to the first sentence about it."""
    return {name: load_preparation(name).about.partition(". ")[0] for name in SHELF.names()}


def load_preparation(recipe: Told, overrides: tuple[str, ...] = ()) -> Preparation:
    """Return a shipped recipe by name, one from a YAML file or from plain data, with `key.sub=value` changes.

    Raises `NotFound` for an unknown name, `BadInput` naming the key for whatever does not fit the schema.
    """
    if isinstance(recipe, Preparation):
        name, data = recipe.name, recipe.model_dump(mode="json", exclude_unset=True)
    elif isinstance(recipe, Mapping):
        name, data = "of these steps", deepcopy(dict(recipe))
    else:
        name, data = str(recipe), SHELF.load(str(recipe))
    for text in overrides:
        SHELF.change(data, text)
    try:
        return Preparation.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"recipe {name}: {explain(error, Preparation)}") from None


def prepare(
    input: str | Path,
    output: str | Path,
    recipe: Told,
    *,
    overrides: tuple[str, ...] = (),
    level: int | None = None,
    overwrite: bool = False,
    workers: int = WORKERS,
    progress: Progress | None = None,
    **stated: Unpack[Stated],
) -> list[Prepared]:
    """Crop, resample, binarise, convert or split a volume out of core, and continue where an earlier call was killed.

    `recipe` is a shipped one (`mitoem`, `openorganelle`), a YAML file, or its content as plain data: `steps`, one
    after the other, an optional `split`, and how the output is stored (`vol2vol.preparation.Preparation`). `input` is
    a volume, or the name of one that the recipe knows where to find. `stated` (`Stated`) describes an input whose file
    does not; `level` picks from a multiscale image. Bytes depend neither on `workers` (threads) nor on how
    often it was killed, memory not on the size of the volume. Returns one entry per output: with a split `out.zarr`
    becomes `out-train.zarr`, `out-test.zarr`. Long because it names every option and ends in an example that runs.

    Raises `Mismatch` if an output was begun with another input or other steps, `AlreadyExists` if something else is
    there and `overwrite` is not given, `BadInput` where a step cannot be done.

    >>> import tempfile, vol2vol
    >>> folder = tempfile.mkdtemp()
    >>> em = vol2vol.create_volume(
    ...     f"{folder}/em.zarr", shape=(1, 8, 30, 30), dtype="u1", voxel_size=(30, 8, 8), unit="nm"
    ... )
    >>> [made] = vol2vol.prepare(
    ...     f"{folder}/em.zarr", f"{folder}/cubes.zarr", {"steps": [{"step": "resample", "voxel_size": [30, 30, 30]}]}
    ... )
    >>> made.shape, made.voxel_size
    ((1, 8, 8, 8), (30.0, 30.0, 30.0))
    """
    place = _place(input, load_preparation(recipe, overrides), level)
    return preparation.prepare_volume(
        place.input,
        output,
        place.told,
        level=place.level,
        overwrite=overwrite,
        workers=workers,
        progress=progress,
        **stated,
    )


def plan_preparation(
    input: str | Path,
    output: str | Path,
    recipe: Told,
    *,
    overrides: tuple[str, ...] = (),
    level: int | None = None,
    workers: int = WORKERS,
    **stated: Unpack[Stated],
) -> dict[str, Any]:
    """Return what `prepare` would do and cost, as plain data: shapes, voxel sizes, bytes, memory; reads no voxels."""
    place = _place(input, load_preparation(recipe, overrides), level)
    return preparation.dry_run(place.input, output, place.told, level=place.level, workers=workers, **stated)


@dataclass(frozen=True)
class _Place:
    """Where an input is, and the preparation with what the recipe knows of it."""

    input: str
    level: int
    told: Preparation


def _place(input: str | Path, told: Preparation, level: int | None) -> _Place:
    """Find the input; a file of its own goes before a name that the recipe knows."""
    name = address(input)
    there = is_remote(name) or Path(name).exists()
    source = None if there else told.inputs.get(name)
    if source is not None:
        told = told.model_copy(update={"voxel_size": source.voxel_size, "unit": source.unit})
        return _Place(source.address, source.level if level is None else level, told)
    if told.inputs and not there and not Path(name).suffix:
        raise NotFound(f"{name} is neither a file nor an input of the recipe: it knows {', '.join(told.inputs)}")
    return _Place(name, level or 0, told)
