"""Read loss curves from a run's `log.csv`, with any columns that the task wrote."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vol2vol.errors import BadInput, NotFound

COUNTERS = ("step", "epoch")
NOT_LOSSES = (*COUNTERS, "seconds", "memory", "lr", "time")
TOTALS = ("generators", "critics", "loss")
POINTS = 400


@dataclass(frozen=True)
class Curves:
    """The columns of a log against steps or epochs."""

    counter: str
    """Quantity of the x axis: step, epoch or row."""
    at: np.ndarray
    columns: Mapping[str, np.ndarray]

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """The total losses of the players; all columns if the log has none of the usual names."""
        totals = {name: values for name, values in self.columns.items() if name in TOTALS}
        return totals or dict(self.columns)

    @property
    def terms(self) -> dict[str, np.ndarray]:
        """The terms that the totals are sums of."""
        return {name: values for name, values in self.columns.items() if name not in self.totals}


def read_curves(run: Path) -> Curves:
    """Read the losses of a run; a long log is averaged down to 400 points.

    Raises `NotFound` if there is no log, and `BadInput` if it does not hold numbers.
    """
    path = Path(run) / "log.csv"
    if not path.is_file():
        raise NotFound(f"{path} does not exist: name the folder of a training run")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name]
    try:
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path} is not a training log: {error}") from None
    counter = next((name for name in COUNTERS if name in columns), "row")
    at = columns.get(counter, np.arange(1, len(rows) + 1, dtype=float))
    losses = {name: values for name, values in columns.items() if not name.startswith(NOT_LOSSES)}
    kept = {name: _thin(values) for name, values in losses.items() if np.isfinite(values).any()}
    return Curves(counter=counter, at=_thin(at), columns=kept)


def _thin(values: np.ndarray) -> np.ndarray:
    if values.size <= POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, POINTS)])
