"""Loss curves from a run's `log.csv`, whatever columns the task wrote."""

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
    """What the x axis counts."""
    at: np.ndarray
    columns: Mapping[str, np.ndarray]

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """The players' whole losses; all columns where the log has none of the usual names."""
        found = {name: values for name, values in self.columns.items() if name in TOTALS}
        return found or dict(self.columns)

    @property
    def terms(self) -> dict[str, np.ndarray]:
        """Whatever the totals are made of."""
        return {name: values for name, values in self.columns.items() if name not in self.totals}


def read_curves(run: Path) -> Curves:
    """Read the losses of a run, thinned to a few hundred means where the log is long.

    Raises `NotFound` where there is no log and `BadInput` where it holds no numbers.
    """
    path = Path(run) / "log.csv"
    if not path.is_file():
        raise NotFound(f"{path} is not there: name the folder of a training run")
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
