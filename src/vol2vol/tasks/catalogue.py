"""The tasks by name: the one place that lists them, and where tasks of other installed packages come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field, SerializeAsAny, WrapValidator
from pydantic_core import PydanticKnownError
from torch import nn

from vol2vol.losses import PAIRED
from vol2vol.plugins import Catalogue
from vol2vol.tasks.base import Task, TaskSettings
from vol2vol.tasks.cut import CUT
from vol2vol.tasks.cyclegan import CycleGAN
from vol2vol.tasks.denoise import Denoise
from vol2vol.tasks.pix2pix import Pix2Pix
from vol2vol.tasks.regress import Regress
from vol2vol.tasks.segment import Segment

OWN = (CycleGAN, CUT, Denoise, Pix2Pix, Regress, Segment)


def _name(task: Any) -> str:
    return str(task.Settings.model_fields["name"].default)


def _check(name: str, task: Any) -> str:
    """Return what keeps a class of another package from being a task, in words."""
    settings = getattr(task, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, TaskSettings)):
        return "it has no Settings that are TaskSettings"
    return "" if _name(task) == name else f"the name in its settings is {_name(task)!r}"


TASKS: Catalogue[Any] = Catalogue("task", "vol2vol.tasks", {_name(task): task for task in OWN}, _check)
"""Every task by its name; other packages offer theirs by the entry points `vol2vol.tasks`. A task is built by
`TASK(settings, dims=, channels=, seed=)`, and with `models=` where its settings name some."""


def _settings(value: Any, own: Any) -> Any:
    """Return the settings of a task of another package as its class reads them, those of ours as `own` does."""
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    if not isinstance(name, str) or name in TASKS.own:
        return own(value)
    if name not in TASKS:
        tags = {"discriminator": "name", "tag": name, "expected_tags": ", ".join(map(repr, TASKS))}
        raise PydanticKnownError("union_tag_invalid", tags)
    return TASKS[name].Settings.model_validate(value)


if TYPE_CHECKING:
    AnyTask = TaskSettings
else:
    AnyTask = Annotated[
        Annotated[Union[tuple(task.Settings for task in OWN)], Field(discriminator="name")],  # noqa: UP007
        WrapValidator(_settings),
        SerializeAsAny(),
    ]
    """The settings of any task; `name` says which."""


def build(
    settings: TaskSettings,
    *,
    dims: int,
    channels: Mapping[str, int] | None = None,
    models: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> Task:
    """Return a task with fresh weights.

    `channels` counts those of every domain, one each by default; `models` are the trained networks that
    `settings.models()` names, by domain; `seed` decides the weights. Raises `BadInput` for settings that do not fit.
    """
    asked = {"models": models} if settings.models() else {}
    result: Task = TASKS[settings.name](settings, dims=dims, channels=channels, seed=seed, **asked)
    return result


def packages(settings: TaskSettings) -> dict[str, dict[str, dict[str, str]]]:
    """Return the other packages whose task and losses these settings name, by name: plain data for a record."""
    outside = {"tasks": TASKS.origins([settings.name]), "losses": PAIRED.origins(settings.loss_names())}
    return {kind: origins for kind, origins in outside.items() if origins}
