"""What is found of a trial while it is measured: values with intervals, sums per block, words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.study.rows import Row, Value

WIDEST = 4096
"""Numbers per block up to which sums are kept."""


@dataclass
class Findings:
    """Collects what a row will say."""

    values: dict[str, Value] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    segmentations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Row | None, sums: dict[str, np.ndarray]) -> Findings:
        """Begin with what an earlier look at the same volume found."""
        if row is None or row.status != "done":
            return cls()
        return cls(dict(row.values), dict(row.notes), dict(sums), dict(row.segmentations))

    def number(self, name: str, value: float | None, low: float | None = None, high: float | None = None) -> None:
        """Keep a number; nothing where there is none."""
        if value is not None:
            self.values[name] = Value(value=value, low=low, high=high)

    def blockwise(self, name: str, found: Blockwise) -> None:
        """Keep a metric with the interval that its blocks give it, and their sums."""
        if len(found.sums) < 2:
            self.number(name, found.value)
        else:
            interval = found.interval()
            self.number(name, interval.value, interval.low, interval.high)
        if found.sums.shape[1] <= WIDEST:
            self.sums[name] = found.sums

    @contextmanager
    def unless_impossible(self, measure: str) -> Iterator[None]:
        """Note why a measure cannot be taken of this volume, and go on with the others."""
        try:
            yield
        except BadInput as error:
            self.notes[measure] = f"not measured: {error}"


def blocks_for(spatial: Shape, least: int) -> Shape:
    """Return the largest blocks, halved along their longest axis, of which a volume holds at least so many."""
    block = list(spatial)
    while np.prod([-(-n // b) for n, b in zip(spatial, block, strict=True)]) < least and max(block) > 1:
        axis = int(np.argmax(block))
        block[axis] = -(-block[axis] // 2)
    return tuple(block)
