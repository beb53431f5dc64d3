"""Prepare volumes by a recipe: a shipped one for published data, a YAML file, or plain data."""

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
RecipeSource = str | Path | Mapping[str, Any] | Preparation


def list_preparations() -> dict[str, str]:
    """Return the shipped preparation recipes by name, each with the first sentence of its description."""
    return {name: load_preparation(name).about.partition(". ")[0] for name in SHELF.names()}


def load_preparation(recipe: RecipeSource, overrides: tuple[str, ...] = ()) -> Preparation:
    """Return a recipe by its shipped name, from a YAML file or from plain data, with `key.sub=value` changes.

    Raises `NotFound` for an unknown name, and `BadInput`, naming the key, for what does not fit the schema.
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
    recipe: RecipeSource,
    *,
    overrides: tuple[str, ...] = (),
    level: int | None = None,
    overwrite: bool = False,
    workers: int = WORKERS,
    progress: Progress | None = None,
    **stated: Unpack[Stated],
) -> list[Prepared]:
    """Crop, resample, binarise, convert or split a volume out of core; continue if an earlier call was killed.

    `recipe` is the name of a shipped recipe (`mitoem`, `openorganelle`), a YAML file, or the content of one as plain
    data: `steps`, which run in this order, an optional `split`, and the storage of the output
    (`vol2vol.preparation.Preparation`). `input` is a volume, or the name of an input that the recipe lists. `stated`
    (`Stated`) holds metadata that is missing from the file of the input; `level` selects a level of a multiscale image.
    The output does not depend on `workers` (threads) or on interruptions, and the memory does not depend on the size of
    the volume. Returns an entry per output: a split of `out.zarr` gives `out-train.zarr` and `out-test.zarr`. Long
    because it names every option and ends in an example that runs.

    Raises `Mismatch` if an output was started with another input or other steps, `AlreadyExists` if another file is
    there and `overwrite` is false, `BadInput` if a step does not suit the volume.

    >>> import tempfile, vol2vol
    >>> folder = tempfile.mkdtemp()
    >>> em = vol2vol.create_volume(
    ...     f"{folder}/em.zarr", shape=(1, 8, 30, 30), dtype="u1", voxel_size=(30, 8, 8), unit="nm"
    ... )
    >>> [cubes] = vol2vol.prepare(
    ...     f"{folder}/em.zarr", f"{folder}/cubes.zarr", {"steps": [{"step": "resample", "voxel_size": [30, 30, 30]}]}
    ... )
    >>> cubes.shape, cubes.voxel_size
    ((1, 8, 8, 8), (30.0, 30.0, 30.0))
    """
    resolved = _resolved(input, load_preparation(recipe, overrides), level)
    return preparation.prepare_volume(
        resolved.path,
        output,
        resolved.recipe,
        level=resolved.level,
        overwrite=overwrite,
        workers=workers,
        progress=progress,
        **stated,
    )


def plan_preparation(
    input: str | Path,
    output: str | Path,
    recipe: RecipeSource,
    *,
    overrides: tuple[str, ...] = (),
    level: int | None = None,
    workers: int = WORKERS,
    **stated: Unpack[Stated],
) -> dict[str, Any]:
    """Return what `prepare` would write, as plain data: shapes, voxel sizes, bytes, memory. It reads no voxels."""
    resolved = _resolved(input, load_preparation(recipe, overrides), level)
    return preparation.dry_run(resolved.path, output, resolved.recipe, level=resolved.level, workers=workers, **stated)


@dataclass(frozen=True)
class _Resolved:
    """The path and level of an input, and the recipe with the metadata that it lists for this input."""

    path: str
    level: int
    recipe: Preparation


def _resolved(input: str | Path, recipe: Preparation, level: int | None) -> _Resolved:
    """Find an input: a file of this path or, if there is none, an input that the recipe lists."""
    name = address(input)
    exists = is_remote(name) or Path(name).exists()
    source = None if exists else recipe.inputs.get(name)
    if source is not None:
        recipe = recipe.model_copy(update={"voxel_size": source.voxel_size, "unit": source.unit})
        return _Resolved(source.address, source.level if level is None else level, recipe)
    if recipe.inputs and not exists and not Path(name).suffix:
        raise NotFound(f"{name} is neither a file nor an input of the recipe: use one of {', '.join(recipe.inputs)}")
    return _Resolved(name, level or 0, recipe)
