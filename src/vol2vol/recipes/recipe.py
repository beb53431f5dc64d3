"""The schema of a recipe and its loader: presets shipped with the package, or a file of one's own.

vol2vol train --recipe small-2d ... train.epochs=3 cyclegan.generator.arguments.width=8
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Shape
from vol2vol.sampling import Jitter
from vol2vol.tasks import CycleGANSettings, SegmentSettings
from vol2vol.training.settings import TrainSettings


class LabelSettings(BaseModel):
    """Which patches are drawn from images with masks, and which part of them is kept for judging."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreground: float = Field(default=0.02, ge=0, lt=1)
    """Least share of a patch's voxels inside the mask."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of every volume, at the end of its longest axis, that training never sees."""
    held_out_patches: int = Field(default=16, ge=1)
    """Patches, spread over the held-out parts, on which the best checkpoint is chosen after each epoch."""
    jitter: Jitter = Jitter()
    """Random changes of a patch's intensities."""


class DataSettings(BaseModel):
    """Which patches are drawn, and how stored values become the network's range."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    patch: int | tuple[int, int] | tuple[int, int, int] = 190
    """Voxels per axis of a patch: one number, or one per axis (Z, Y, X)."""
    planes: tuple[Literal["z", "y", "x"], ...] = ("z",)
    """For 2D networks: the axes across which planes are drawn; more than z needs isotropic voxels."""
    background: float = Field(5.0, ge=0, lt=100)
    """Patches below this percentile of variance over the whole data set are drawn again."""
    augment: bool = True
    """Flip patches, and turn them by right angles in planes whose voxels are isotropic."""
    intensity: Literal["percentile", "meanstd", "minmax", "fixed"] = "percentile"
    """How the stored values of each domain are mapped to the network's range, over the whole volume."""
    low: float | None = None
    """With intensity fixed: the stored value that becomes the lower end."""
    high: float | None = None
    """With intensity fixed: the stored value that becomes the upper end."""
    calibration: int = Field(64, ge=1)
    """Patches, spread over the whole source volume, from which the statistics of normalisation are taken."""
    labels: LabelSettings = LabelSettings()
    """For the task segment, whose target is the mask of its source."""


class Recipe(BaseModel):
    """Everything one training run needs besides the volumes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "custom"
    """What the run is called in its records."""
    about: str = ""
    """One line: what the recipe is for."""
    dims: Literal[2, 3] = 2
    """2: planes of a volume, or images; 3: volumes."""
    data: DataSettings = DataSettings()
    """Patches and intensities."""
    task: Literal["cyclegan", "segment"] = "cyclegan"
    """The training objective; the section of its name below says more, the others are not looked at."""
    cyclegan: CycleGANSettings = CycleGANSettings()
    """Networks and losses of the cycleGAN."""
    segment: SegmentSettings = SegmentSettings()
    """Network, loss and choice of checkpoint of a segmentation."""
    train: TrainSettings = TrainSettings()
    """Optimisation, checkpoints, devices."""

    @property
    def patch(self) -> Shape:
        """Voxels per axis of a patch, one number per axis of the network."""
        patch = self.data.patch
        shape = (patch,) * self.dims if isinstance(patch, int) else tuple(patch)
        if len(shape) != self.dims:
            raise BadInput(f"data.patch {patch} has {len(shape)} numbers for a {self.dims}D network")
        return shape


def list_recipes() -> dict[str, str]:
    """Return the shipped recipes: name to one line about it."""
    presets = sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml"))
    return {name: load_recipe(name).about for name in presets}


def load_recipe(name: str | Path | Recipe, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return a shipped recipe by name or one from a YAML file, with `key.sub=value` overrides applied.

    A file may begin `extends: NAME` and hold only what differs. Raises `NotFound` for an unknown name, `BadInput`
    naming the key for whatever does not fit the schema.
    """
    data = name.model_dump(mode="json") if isinstance(name, Recipe) else _load(str(name))
    for override in overrides:
        _override(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"recipe {name if not isinstance(name, Recipe) else name.name}: {_explain(error)}") from None


def _folder() -> Any:
    return files("vol2vol.recipes") / "presets"


def _load(name: str, children: tuple[str, ...] = ()) -> dict[str, Any]:
    if name in children:
        raise BadInput(f"recipe {name} extends itself: {' extends '.join((*children, name))}; correct one of them")
    preset = _folder() / f"{name}.yaml"
    path = Path(name)
    file = path if path.is_file() else preset
    if not file.is_file():
        names = sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml"))
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(names)}"
        raise NotFound(f"recipe {name!r} is neither a file nor a shipped recipe: {hint}")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Unreadable(f"recipe {name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise BadInput(f"recipe {name} holds no keys: see `vol2vol recipes small-2d` for what one looks like")
    parent = data.pop("extends", None)
    return data if parent is None else _merged(_load(str(parent), (*children, name)), data)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _override(data: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"override {text!r} is not key=value, such as train.epochs=20")
    *path, last = key.split(".")
    part = data
    for step in path:
        part = part.setdefault(step, {})
        if not isinstance(part, dict):
            raise BadInput(f"override {text!r}: {step} holds a value, not keys")
    try:
        part[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise BadInput(f"override {text!r}: the value is not YAML") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        model: Any = Recipe
        for step in first["loc"][:-1]:
            model = model.model_fields[step].annotation
        near = get_close_matches(str(first["loc"][-1]), model.model_fields, n=1)
        known = f"did you mean {near[0]}?" if near else f"known are {', '.join(model.model_fields)}"
        return f"{where} is not a key: {known}"
    return f"{where}: {first['msg']} (got {first['input']!r})"
