"""Compute learning rates from the epoch and the log so far, so that schedules have no state to store or resume."""

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
"""Schedules that are computed here; all others are classes of torch."""
THRESHOLD = 1e-4
"""Minimum relative improvement that `plateau` counts as an improvement."""
CHANGED = ("lr", "betas", "momentum")
"""Values of an optimiser that schedules change."""


def hyperparameters(settings: TrainSettings, epoch: int, history: Sequence[float] = ()) -> dict[str, Any]:
    """Return the values of every optimiser in an epoch counted from 0: `lr`, and the others that the schedule changes.

    `history` is the task's criterion in all epochs before. Torch's schedules are stepped once per epoch, from the first
    epoch to this one, with a placeholder optimiser that has no network.
    """
    if settings.schedule.name in OWN:
        return {"lr": settings.lr * rate(settings.schedule, epoch, settings.epochs, history)}
    *_, last = _replayed(settings, epoch, history)
    return last


def check_schedule(settings: TrainSettings) -> None:
    """Step the schedule through all epochs; raise `ValueError` if it fails or the learning rate falls below 0."""
    if settings.schedule.name in OWN:
        return
    try:
        values = _replayed(settings, settings.epochs - 1, [0.0] * settings.epochs)
    except (ValueError, TypeError, KeyError, ZeroDivisionError, ArithmeticError) as error:
        raise ValueError(f"schedule {settings.schedule.name}: {' '.join(str(error).split())}") from None
    if not all(value["lr"] >= 0 for value in values):
        raise ValueError(f"schedule {settings.schedule.name}: the learning rate falls below 0")


def _replayed(settings: TrainSettings, epoch: int, history: Sequence[float]) -> list[dict[str, Any]]:
    """Return the values that torch's schedule gives an optimiser in every epoch up to this one."""
    kind: Any = schedule_classes()[settings.schedule.name]
    placeholder = optimizer(settings, [nn.Parameter(torch.zeros(1))])
    schedule = kind(placeholder, **settings.schedule.arguments)
    needs_criterion = issubclass(kind, torch.optim.lr_scheduler.ReduceLROnPlateau)
    values = []
    for done in range(epoch + 1):
        if done:
            placeholder.step()
            schedule.step(*[history[done - 1]] * needs_criterion)
        group = placeholder.param_groups[0]
        values.append({name: group[name] for name in CHANGED if name in group})
    return values


def rate(schedule: Schedule, epoch: int, epochs: int, history: Sequence[float] = ()) -> float:
    """Return the factor on the learning rate in an epoch counted from 0, above 0 and at most 1.

    `history` is the task's criterion (lower is better) in all epochs before; only `plateau` uses it.
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
    """Return how often the best value so far did not improve for more than `patience` epochs."""
    best, waited, plateaus = inf, 0, 0
    for value in history:
        if value < best * (1 - THRESHOLD):
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
