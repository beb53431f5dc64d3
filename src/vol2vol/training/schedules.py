"""Learning rates as functions of the epoch and of what was logged so far: nothing to store, nothing to resume."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, inf, pi
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vol2vol.training.optimizers import optimizer, schedule_classes

if TYPE_CHECKING:
    from vol2vol.training.settings import Schedule, TrainSettings

OWN = ("constant", "linear", "step", "plateau", "cosine", "cosine-restarts")
"""Schedules that are computed here; all others are torch's."""
THRESHOLD = 1e-4
"""Smallest relative improvement that `plateau` counts as one."""
CHANGED = ("lr", "betas", "momentum")
"""What schedules change of an optimiser."""


def hyperparameters(settings: TrainSettings, epoch: int, history: Sequence[float] = ()) -> dict[str, Any]:
    """Return what every optimiser is set to in an epoch counted from 0: `lr`, and what else the schedule changes.

    `history` is the task's criterion in all epochs before. Torch's schedules are stepped once per epoch, from the first
    epoch to this one, beside an optimiser without a network.
    """
    if settings.schedule.name in OWN:
        return {"lr": settings.lr * rate(settings.schedule, epoch, settings.epochs, history)}
    *_, last = _replayed(settings, epoch, history)
    return last


def check_schedule(settings: TrainSettings) -> None:
    """Go through all epochs; raise `ValueError` where the schedule cannot."""
    if settings.schedule.name in OWN:
        return
    try:
        values = _replayed(settings, settings.epochs - 1, [0.0] * settings.epochs)
    except (ValueError, TypeError, KeyError, ZeroDivisionError, ArithmeticError) as error:
        raise ValueError(f"schedule {settings.schedule.name}: {' '.join(str(error).split())}") from None
    if not all(value["lr"] >= 0 for value in values):
        raise ValueError(f"schedule {settings.schedule.name}: the learning rate falls below 0")


def _replayed(settings: TrainSettings, epoch: int, history: Sequence[float]) -> list[dict[str, Any]]:
    """Return what torch's schedule makes of an optimiser in every epoch up to this one."""
    kind: Any = schedule_classes()[settings.schedule.name]
    moved = optimizer(settings, [nn.Parameter(torch.zeros(1))])
    schedule = kind(moved, **settings.schedule.arguments)
    judged = issubclass(kind, torch.optim.lr_scheduler.ReduceLROnPlateau)
    values = []
    for done in range(epoch + 1):
        if done:
            moved.step()
            schedule.step(*[history[done - 1]] * judged)
        group = moved.param_groups[0]
        values.append({name: group[name] for name in CHANGED if name in group})
    return values


def rate(schedule: Schedule, epoch: int, epochs: int, history: Sequence[float] = ()) -> float:
    """Return the factor on the learning rate in an epoch counted from 0, at most 1 and above 0.

    `history` is the task's criterion (lower is better) in all epochs before; only `plateau` looks at it.
    """
    s = schedule
    if s.name == "linear":
        flat = epochs // 2
        return min(1.0, (epochs - epoch) / (epochs - flat))
    if s.name == "step":
        return s.factor ** (epoch // s.period)
    if s.name == "plateau":
        return s.factor ** _plateaus(history, s.patience)
    if s.name == "cosine":
        return (1 + cos(pi * epoch / epochs)) / 2
    if s.name == "cosine-restarts":
        return (1 + cos(pi * (epoch % s.period) / s.period)) / 2
    return 1.0


def _plateaus(history: Sequence[float], patience: int) -> int:
    """Count how often the best value so far stood for more than `patience` epochs."""
    best, waited, plateaus = inf, 0, 0
    for value in history:
        if value < best * (1 - THRESHOLD):
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
