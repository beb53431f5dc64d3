"""Estimate numbers and their differences with uncertainty, by resampling blocks of volumes and seeds.

The same blocks are drawn for all trials of a study, and the same seeds for all trials of a training or a segmenter. Two
estimates are therefore subtracted draw by draw, and the variation that they share cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np
from scipy.stats import t as student

from vol2vol.metrics.bootstrap import AT_ONCE, Resampling, draw_weights, interval_of
from vol2vol.metrics.measures import Quantity, quantity_of
from vol2vol.metrics.seams.phases import holm
from vol2vol.report.rows.conditions import judges, training
from vol2vol.report.rows.rows import Row, Value, read_sums

RESAMPLING = Resampling(resamples=1000, method="percentile")


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its resampled draws `(resamples,)`; without draws it has no interval."""

    value: float | None
    draws: np.ndarray | None = None
    blocks: int = 0
    """Number of resampled blocks; few blocks widen the interval."""

    def __sub__(self, other: Estimate) -> Estimate:
        return self._with(other, np.subtract)

    def __truediv__(self, other: Estimate) -> Estimate:
        return self._with(other, np.divide)

    def _with(self, other: Estimate, operation: Callable[..., np.ndarray]) -> Estimate:
        if self.value is None or other.value is None:
            return Estimate(None)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(operation(np.float64(self.value), np.float64(other.value)))
            draws = None if self.draws is None or other.draws is None else operation(self.draws, other.draws)
        return Estimate(value if np.isfinite(value) else None, draws, min(self.blocks, other.blocks))

    @property
    def known(self) -> np.ndarray:
        """The draws that are defined."""
        return np.empty(0) if self.draws is None else self.draws[np.isfinite(self.draws)]

    def interval(self) -> Value:
        """Return the number with its percentile interval of 95 %."""
        if self.value is None or not self.known.size:
            return Value(value=self.value)
        interval = interval_of(self.value, self.known, RESAMPLING, blocks=self.blocks)
        return Value(value=interval.value, low=interval.low, high=interval.high)

    @property
    def p(self) -> float | None:
        """Two-sided p of the hypothesis that the number is 0; None without draws.

        It is the fraction of draws beyond 0. If they are fewer than ten, that fraction is too coarse: the tail of a
        Student distribution with the draws' spread is used instead, but never below a tenth of one draw's weight.
        """
        draws = self.known
        if self.value is None or not draws.size:
            return None
        counted = interval_of(self.value, draws, RESAMPLING, blocks=self.blocks, null=0.0).p
        spread = float(draws.std()) * np.sqrt(self.blocks / (self.blocks - 1))
        if min((draws <= 0).sum(), (draws >= 0).sum()) >= 10 or spread == 0:
            return counted
        return min(counted, max(0.1 / draws.size, 2 * float(student.sf(abs(self.value) / spread, self.blocks - 1))))


class Judged:
    """The block sums of a study's trials, resampled."""

    def __init__(self, folder: str | Path, how: Resampling = RESAMPLING) -> None:
        self.folder = Path(folder)
        self.how = how
        self._read = lru_cache(maxsize=None)(self._draw_all)

    def of_row(self, row: Row, name: str) -> Estimate:
        """Return a value of a row; it has no draws if its sums were not kept or have only one block."""
        draws, blocks = self._read(row.trial).get(name, (None, 0))
        return Estimate(row.number(name), draws, blocks)

    def pooled(self, rows: Iterable[Row], metric: str, only: Sequence[tuple[str, str]] | None = None) -> Estimate:
        """Return the mean of a segmentation metric over rows that differ in seed, segmenters and their seeds.

        Draws resample blocks, and, if there are two or more, seeds of trainings and of each segmenter separately;
        segmenters are not resampled. `only` limits the segmenters to these names and seeds.
        """
        values, draws, weights, blocks = [], [], [], []
        for row in rows:
            for segmenter, seed in judges([row], metric):
                estimate = self.of_row(row, f"segmentation/{segmenter}/{seed}/{metric}")
                if estimate.value is None or (only is not None and (segmenter, seed) not in only):
                    continue
                values.append(estimate.value)
                draws.append(estimate.draws)
                blocks.append(estimate.blocks)
                weights.append((training(row), (row.target if row.kind != "bound" else row.source, segmenter), seed))
        if not values:
            return Estimate(None)
        kept = [array for array in draws if array is not None]
        if len(kept) < len(values):
            return Estimate(float(np.mean(values)))
        share = self._seeds(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (share * np.array(kept)).sum(0) / share.sum(0)
        return Estimate(float(np.mean(values)), mean, min(blocks))

    def _seeds(self, members: Sequence[tuple[tuple[object, ...], tuple[str, str], str]]) -> np.ndarray:
        """Return how often each value is drawn, `(values, resamples)`: seeds of trainings times seeds of segmenters."""
        share = np.ones((len(members), self.how.resamples))
        trainings = [(key[:-1], key[-1]) for key, _, _ in members]
        for keys in (trainings, [(judge, seed) for _, judge, seed in members]):
            for family in dict.fromkeys(key for key, _ in keys):
                seeds = sorted({str(seed) for key, seed in keys if key == family})
                if len(seeds) < 2:
                    continue
                rng = np.random.default_rng([self.how.seed, crc32(repr((family, seeds)).encode())])
                drawn = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), self.how.resamples).T
                for index, (key, seed) in enumerate(keys):
                    if key == family:
                        share[index] *= drawn[seeds.index(str(seed))]
        return share

    def _draw_all(self, trial: str) -> dict[str, tuple[np.ndarray, int]]:
        draws = {}
        for name, sums in read_sums(self.folder, trial).items():
            quantity = quantity_of(name)
            if quantity is not None and quantity.combine is not None and len(sums) > 1:
                draws[name] = self.draw(quantity, sums), len(sums)
        return draws

    def draw(self, quantity: Quantity, sums: np.ndarray) -> np.ndarray:
        """Return the values of resampled blocks, from the sums per block `(blocks, k)` of a quantity."""
        assert quantity.combine is not None, quantity
        sums = np.asarray(sums, np.float64)
        sums = sums if quantity.condense is None else quantity.condense(sums)
        weights = draw_weights(len(sums), self.how)
        parts = [quantity.combine(weights[i : i + AT_ONCE] @ sums) for i in range(0, len(weights), AT_ONCE)]
        return np.concatenate(parts)


def holm_known(p: Sequence[float | None]) -> list[float | None]:
    """Return p values, in their order, corrected (Holm 1979) for the number of those that are known."""
    known = [index for index, value in enumerate(p) if value is not None]
    corrected: list[float | None] = [None] * len(p)
    values = holm(np.array([p[index] for index in known], np.float64))
    for index, value in zip(known, values, strict=True):
        corrected[index] = float(value)
    return corrected
