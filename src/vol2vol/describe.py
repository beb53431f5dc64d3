"""Describe a path: a volume, a model, a run or a study; load a model by name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import yaml

from vol2vol import plainyaml
from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.files import read_text
from vol2vol.plans.record import is_predicted
from vol2vol.volumes import Stated, Volume, open_volume
from vol2vol.volumes.addresses import address
from vol2vol.volumes.completeness import is_output, missing
from vol2vol.volumes.formats.imagegroups import volumes_in
from vol2vol.volumes.formats.nodes import name_of
from vol2vol.volumes.opening import unfinished

if TYPE_CHECKING:
    from vol2vol.models.bundle import Bundle

_MODEL = "model.yaml"
"""The file that identifies a bundle; importing `vol2vol.models.bundle` imports torch, which volumes do not need."""


def load_model(path: str | Path, which: str = "auto", *, device: str = "cpu") -> Bundle:
    """Load a model, or one of a run (see `find_bundle`); nothing in its files is executed.

    Raises `NotFound` listing the checkpoints, `Unreadable` where a file is damaged, `BadInput` where it does not match.
    """
    from vol2vol.models.bundle import load_bundle
    from vol2vol.models.checkpoints import find_bundle

    return load_bundle(find_bundle(path, which), device)


def info(path: str | Path, **stated: Unpack[Stated]) -> dict[str, Any]:
    """Describe a volume, a bundle or the folder of a run or a study as plain data; raises the errors of opening it."""
    if not str(path):
        raise NotFound("the path is empty: name a volume, a model, a run or a study")
    folder = Path(address(path))
    if (folder / _MODEL).is_file():
        from vol2vol.models.bundle import describe_bundle
        from vol2vol.recipes.cost import model_cost

        return {"kind": "model", **describe_bundle(folder), "cost": model_cost(folder)}
    if (folder / "recipe.yaml").is_file():
        return _run(folder)
    if (folder / "study.yaml").is_file():
        from vol2vol.study.status import study_status

        return study_status(folder)
    images = volumes_in(address(path))
    if images != [address(path)]:
        return {
            "kind": "group of images",
            "path": str(path),
            "images": {name_of(image): _brief(image) for image in images},
        }
    options: Stated = {**stated, "time": stated.get("time") or 0}
    volume = open_volume(path, **options)
    description = {"kind": "volume", **volume.describe()}
    if verb := unfinished(volume):
        description["unfinished"] = f"vol2vol {verb} has not finished: run the same command again"
    elif lost := _lost(path, volume):
        description["missing shards"] = lost
    return {**description, **_predicted(volume)}


def _brief(path: str) -> str:
    """Return shape and type of an image of a group, and whether it is complete."""
    with open_volume(path) as volume:
        text = f"{tuple(volume.shape)} {volume.dtype}"
        return f"{text}, not complete" if unfinished(volume) else text


def _lost(path: str | Path, volume: Volume) -> dict[str, int]:
    """Return by level the number of lost shards of an output; empty for volumes of other programs."""
    if not is_output(volume.attrs):
        return {}
    try:
        return {f"level {number}": len(keys) for number, keys in missing(address(path)).items()}
    except BadInput:  # a single level, or not an OME-Zarr
        return {"of this level": len(volume.missing())} if volume.missing() else {}


def _predicted(volume: Volume) -> dict[str, Any]:
    """Return the cost of a prediction; empty for other volumes, and where the record does not suffice."""
    if not is_predicted(volume):
        return {}
    from vol2vol.recipes.cost import prediction_cost

    try:
        return {"cost": prediction_cost(volume)}
    except BadInput:
        return {}


def _run(folder: Path) -> dict[str, Any]:
    from vol2vol.models.bundle import describe_bundle
    from vol2vol.models.checkpoints import find_bundle
    from vol2vol.recipes.cost import run_cost

    models = sorted(p.name for p in folder.glob("models/epoch-*") if (p / _MODEL).is_file())
    rows = []
    if (folder / "log.csv").is_file():
        with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    description: dict[str, Any] = {"kind": "run", "path": str(folder), "epochs": len(rows), "models": models}
    description["last epoch"] = rows[-1] if rows else {}
    if models:
        model = describe_bundle(find_bundle(folder))
        model["provenance"].pop("recipe", None)  # that of the run follows
        description["model"] = model
    try:
        description["recipe"] = plainyaml.load(read_text(folder / "recipe.yaml"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Unreadable(f"{folder / 'recipe.yaml'} is not YAML: restore the file") from None
    description["cost"] = run_cost(folder)
    return description
