"""What a row says of a trial, collected while it is measured: values with intervals, sums per block, words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.measures import Bounded, Measure, Number, Taken
from vol2vol.report.rows.rows import Row, Value

WIDEST = 4096
"""Numbers per block up to which sums are kept."""


@dataclass
class RowBuilder:
    """Collects what a row will say."""

    values: dict[str, Value] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    segmentations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Row | None, sums: dict[str, np.ndarray]) -> RowBuilder:
        """Begin with what an earlier look at the same volume found."""
        if row is None or row.status != "done":
            return cls()
        return cls(dict(row.values), dict(row.notes), dict(sums), dict(row.segmentations))

    def add(self, measure: Measure, taken: Taken) -> None:
        """Keep what a measure found, under the names of its values."""
        for key, number in taken.values.items():
            name = measure.name_of(key)
            quantity = measure.quantity(name)
            if isinstance(number, Blockwise) and quantity is not None and not quantity.interval:
                number = number.value
            self._keep(name, number)
        self.notes |= {measure.name_of(key): note for key, note in taken.notes.items()}

    def _keep(self, name: str, number: Number) -> None:
        """Keep a number; of sums per block with the interval that they give it; nothing where there is none."""
        if isinstance(number, Blockwise):
            if number.sums.shape[1] <= WIDEST:
                self.sums[name] = number.sums
            number = _bounded(number)
        number = number if isinstance(number, Bounded) else Bounded(number)
        if number.value is not None:
            self.values[name] = Value(value=number.value, low=number.low, high=number.high)

    @contextmanager
    def unless_impossible(self, measure: Measure) -> Iterator[None]:
        """Note why a measure cannot be taken of this volume, and go on with the others."""
        try:
            yield
        except BadInput as error:
            self.notes[measure.name] = f"not measured: {error}"


def _bounded(number: Blockwise) -> Bounded:
    if len(number.sums) < 2:
        return Bounded(number.value)
    interval = number.interval()
    return Bounded(interval.value, interval.low, interval.high)
