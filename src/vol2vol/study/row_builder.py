"""Collect the row of a trial while it is measured: values with intervals, notes and sums per block."""

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
"""Sums per block are kept up to this many terms."""


@dataclass
class RowBuilder:
    """Collects the values, notes, sums and segmentations of a row."""

    values: dict[str, Value] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    segmentations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Row | None, sums: dict[str, np.ndarray]) -> RowBuilder:
        """Begin with the values of an earlier row of the same trial, or with none."""
        if row is None or row.status != "done":
            return cls()
        return cls(dict(row.values), dict(row.notes), dict(sums), dict(row.segmentations))

    def add(self, measure: Measure, taken: Taken) -> None:
        """Add the results of a measure under the names of its values."""
        for key, number in taken.values.items():
            name = measure.name_of(key)
            quantity = measure.quantity(name)
            if isinstance(number, Blockwise) and quantity is not None and not quantity.interval:
                number = number.value
            self._keep(name, number)
        self.notes |= {measure.name_of(key): note for key, note in taken.notes.items()}

    def _keep(self, name: str, number: Number) -> None:
        """Add a number; sums per block give it an interval. A missing number is left out."""
        if isinstance(number, Blockwise):
            if number.sums.shape[1] <= WIDEST:
                self.sums[name] = number.sums
            number = _bounded(number)
        number = number if isinstance(number, Bounded) else Bounded(number)
        if number.value is not None:
            self.values[name] = Value(value=number.value, low=number.low, high=number.high)

    @contextmanager
    def unless_impossible(self, measure: Measure) -> Iterator[None]:
        """Catch `BadInput` of a measure, and note why it cannot be taken of this volume."""
        try:
            yield
        except BadInput as error:
            self.notes[measure.name] = f"not measured: {error}"


def _bounded(number: Blockwise) -> Bounded:
    if len(number.sums) < 2:
        return Bounded(number.value)
    interval = number.interval()
    return Bounded(interval.value, interval.low, interval.high)
