"""Learning rates as functions of the epoch and of what was logged so far: nothing to store, nothing to resume."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, inf, pi

from vol2vol.training.settings import Schedule

THRESHOLD = 1e-4
"""Smallest relative improvement that `plateau` counts as one."""


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
