"""The tasks by name: the one place that lists them, and where tasks of other installed packages come in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field
from torch import nn

from vol2vol.tasks.base import Task, TaskSettings
from vol2vol.tasks.cyclegan import CycleGAN
from vol2vol.tasks.denoise import Denoise
from vol2vol.tasks.pix2pix import Pix2Pix
from vol2vol.tasks.regress import Regress
from vol2vol.tasks.segment import Segment

log = logging.getLogger(__name__)
OWN = (CycleGAN, Denoise, Pix2Pix, Regress, Segment)
GROUP = "vol2vol.tasks"
"""Entry points by which another package offers tasks."""


def _outside() -> list[Any]:
    """Return the tasks that other packages offer; name those that cannot be loaded."""
    tasks = []
    for entry in entry_points(group=GROUP):
        try:
            task = entry.load()
            tasks += [task] if _name(task) else []
        except Exception as error:  # noqa: BLE001  whatever a stranger's package raises
            package = entry.dist.name if entry.dist else entry.value
            log.warning("the task %s of package %s cannot be loaded: %s", entry.name, package, error)
    return tasks


def _name(task: Any) -> str:
    return str(task.Settings.model_fields["name"].default)


TASKS: dict[str, Any] = {_name(task): task for task in (*_outside(), *OWN)}
"""Every task by its name. A task is built by `TASK(settings, dims=, channels=, seed=)`, and with `models=` where its
settings name some."""

if TYPE_CHECKING:
    AnyTask = TaskSettings
else:
    AnyTask = Annotated[Union[tuple(task.Settings for task in TASKS.values())], Field(discriminator="name")]  # noqa: UP007
    """The settings of any task, told apart by `name`."""


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
    return TASKS[settings.name](settings, dims=dims, channels=channels, seed=seed, **asked)
