"""Distances of sets whose blocks count several times, from sums over blocks: the patches are looked at once.

A kernel distance is bilinear in the weights of blocks, so that one draw costs a product with a small matrix; a Frechet
distance is one of moments, which add up, so that one draw costs a matrix root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vol2vol.metrics.distances.set_distances import CHUNK, FrechetTo, fid, mmd

Distance = Callable[[np.ndarray, np.ndarray], float]
Draw = Callable[[np.ndarray, np.ndarray], list[float]]
"""How often each block of the near and of the far sets counts, to the distance of every near set from the far one."""
KEPT = 1 << 27
"""Numbers of second moments that are kept per set; beyond, they are summed over patches again for each draw."""


@dataclass(frozen=True, eq=False)
class Blocked:
    """Features `(n, d)`, float64, sorted by block."""

    values: np.ndarray
    starts: np.ndarray
    """First row of each block."""

    @classmethod
    def of(cls, values: np.ndarray, numbers: np.ndarray) -> Blocked:
        """Sort features by the number 0..k-1 of their block; every block holds some."""
        order = np.argsort(numbers, kind="stable")
        starts = np.searchsorted(numbers[order], np.arange(int(numbers.max()) + 1))
        return cls(np.asarray(values, np.float64)[order], starts)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Patches of each block."""
        return np.diff([*self.starts, len(self.values)])

    @cached_property
    def kernels(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the cubic kernel within and between blocks `(k, k)`, and of patches with themselves `(k,)`."""
        own = (np.einsum("ij,ij->i", self.values, self.values) / self.values.shape[1] + 1) ** 3
        return kernel_sums(self, self), np.add.reduceat(own, self.starts)

    @cached_property
    def _middle(self) -> np.ndarray:
        result: np.ndarray = self.values.mean(0)
        return result

    @cached_property
    def _centred(self) -> np.ndarray:
        result: np.ndarray = self.values - self._middle
        return result

    @cached_property
    def _sums(self) -> np.ndarray:
        return np.add.reduceat(self._centred, self.starts, axis=0)

    @cached_property
    def _products(self) -> np.ndarray | None:
        width = self.values.shape[1]
        if len(self.starts) * width**2 > KEPT:
            return None
        return np.array([part.T @ part for part in np.split(self._centred, self.starts[1:])])

    def gaussian(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean `(d,)` and unbiased covariance `(d, d)` of all patches, block i counted `times[i]` times."""
        count = float(times @ self.sizes)
        mean = times @ self._sums / count
        if self._products is not None:
            products = np.tensordot(times, self._products, 1)
        else:
            products = (self._centred * np.repeat(times, self.sizes)[:, None]).T @ self._centred
        return self._middle + mean, (products - count * np.outer(mean, mean)) / (count - 1)

    def repeated(self, times: np.ndarray) -> np.ndarray:
        """Return the patches themselves, block i repeated `times[i]` times."""
        return np.repeat(self.values, np.repeat(times.astype(int), self.sizes), axis=0)


def kernel_sums(first: Blocked, second: Blocked) -> np.ndarray:
    """Return sums of the kernel `(x.y/d + 1)^3` over the patches of every pair of blocks, `(k1, k2)`."""
    rows = []
    for i in range(0, len(first.values), CHUNK):
        base = first.values[i : i + CHUNK] @ second.values.T / second.values.shape[1] + 1
        rows.append(np.add.reduceat(base * base * base, second.starts, axis=1))
    return np.add.reduceat(np.concatenate(rows), first.starts, axis=0)


def draws_of(distance: Distance, near: Sequence[Blocked], far: Blocked) -> Draw:
    """Return the draw of a distance: of `fid` and `mmd` from sums over blocks, of any other from repeated patches.

    The near sets have the same blocks and are drawn together.
    """
    if distance is fid:
        return _frechet_draws(near, far)
    if distance is mmd:
        return _kernel_draws(near, far)

    def draw(one: np.ndarray, two: np.ndarray) -> list[float]:
        return [distance(each.repeated(one), far.repeated(two)) for each in near]

    return draw


def _frechet_draws(near: Sequence[Blocked], far: Blocked) -> Draw:
    def draw(one: np.ndarray, two: np.ndarray) -> list[float]:
        to = FrechetTo(*far.gaussian(two))
        return [to(*each.gaussian(one)) for each in near]

    return draw


def _kernel_draws(near: Sequence[Blocked], far: Blocked) -> Draw:
    across = [kernel_sums(each, far) for each in near]

    def within(each: Blocked, times: np.ndarray) -> float:
        (sums, own), count = each.kernels, float(times @ each.sizes)
        return float(times @ sums @ times - times @ own) / (count * (count - 1))

    def draw(one: np.ndarray, two: np.ndarray) -> list[float]:
        beyond, patches = within(far, two), float(two @ far.sizes)
        return [
            within(each, one) + beyond - 2 * float(one @ sums @ two) / (float(one @ each.sizes) * patches)
            for each, sums in zip(near, across, strict=True)
        ]

    return draw
