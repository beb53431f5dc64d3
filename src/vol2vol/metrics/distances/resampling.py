"""Compute bootstrap draws of distances from sums over blocks, so that the patches are visited only once.

A kernel distance is bilinear in the weights of blocks, so that one draw costs a product with a small matrix. A Frechet
distance depends on moments, which are additive, so that one draw costs a matrix root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vol2vol.metrics.distances.set_distances import CHUNK, FrechetTo, fid, mmd

Distance = Callable[[np.ndarray, np.ndarray], float]
Draw = Callable[[np.ndarray, np.ndarray], list[float]]
"""Maps the weights of the blocks of the near and of the far sets to the distance of every near set from the far set."""
MAX_KEPT = 1 << 27
"""Maximum values of second moments kept per set; beyond, each draw sums over the patches again."""


@dataclass(frozen=True, eq=False)
class BlockedFeatures:
    """Features `(n, d)`, float64, sorted by block."""

    values: np.ndarray
    starts: np.ndarray
    """First row of each block."""

    @classmethod
    def of(cls, values: np.ndarray, numbers: np.ndarray) -> BlockedFeatures:
        """Sort features by the number, 0..k-1, of their block; no block may be empty."""
        order = np.argsort(numbers, kind="stable")
        starts = np.searchsorted(numbers[order], np.arange(int(numbers.max()) + 1))
        return cls(np.asarray(values, np.float64)[order], starts)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of patches in each block."""
        return np.diff([*self.starts, len(self.values)])

    @cached_property
    def kernels(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the cubic kernel within and between blocks, `(k, k)`, and of patches with themselves, `(k,)`."""
        own = (np.einsum("ij,ij->i", self.values, self.values) / self.values.shape[1] + 1) ** 3
        return kernel_sums(self, self), np.add.reduceat(own, self.starts)

    @cached_property
    def _mean(self) -> np.ndarray:
        result: np.ndarray = self.values.mean(0)
        return result

    @cached_property
    def _centred(self) -> np.ndarray:
        result: np.ndarray = self.values - self._mean
        return result

    @cached_property
    def _sums(self) -> np.ndarray:
        return np.add.reduceat(self._centred, self.starts, axis=0)

    @cached_property
    def _products(self) -> np.ndarray | None:
        width = self.values.shape[1]
        if len(self.starts) * width**2 > MAX_KEPT:
            return None
        return np.array([part.T @ part for part in np.split(self._centred, self.starts[1:])])

    def gaussian(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean `(d,)` and unbiased covariance `(d, d)` of all patches with block i counted `times[i]` times."""
        count = float(times @ self.sizes)
        mean = times @ self._sums / count
        if self._products is not None:
            products = np.tensordot(times, self._products, 1)
        else:
            products = (self._centred * np.repeat(times, self.sizes)[:, None]).T @ self._centred
        return self._mean + mean, (products - count * np.outer(mean, mean)) / (count - 1)

    def repeated(self, times: np.ndarray) -> np.ndarray:
        """Return the patches with block i repeated `times[i]` times."""
        return np.repeat(self.values, np.repeat(times.astype(int), self.sizes), axis=0)


def kernel_sums(first: BlockedFeatures, second: BlockedFeatures) -> np.ndarray:
    """Return sums of the kernel `(x.y/d + 1)^3` over the patches of every pair of blocks, `(k1, k2)`."""
    rows = []
    for i in range(0, len(first.values), CHUNK):
        base = first.values[i : i + CHUNK] @ second.values.T / second.values.shape[1] + 1
        rows.append(np.add.reduceat(base * base * base, second.starts, axis=1))
    return np.add.reduceat(np.concatenate(rows), first.starts, axis=0)


def draw_function(distance: Distance, near: Sequence[BlockedFeatures], far: BlockedFeatures) -> Draw:
    """Return the function that draws a distance: from block sums for `fid` and `mmd`, from repeated patches for others.

    The near sets must have the same blocks and are resampled together.
    """
    if distance is fid:
        return _frechet_draws(near, far)
    if distance is mmd:
        return _kernel_draws(near, far)

    def draw(near_weights: np.ndarray, far_weights: np.ndarray) -> list[float]:
        return [distance(features.repeated(near_weights), far.repeated(far_weights)) for features in near]

    return draw


def _frechet_draws(near: Sequence[BlockedFeatures], far: BlockedFeatures) -> Draw:
    def draw(near_weights: np.ndarray, far_weights: np.ndarray) -> list[float]:
        distance_to = FrechetTo(*far.gaussian(far_weights))
        return [distance_to(*features.gaussian(near_weights)) for features in near]

    return draw


def _kernel_draws(near: Sequence[BlockedFeatures], far: BlockedFeatures) -> Draw:
    between = [kernel_sums(features, far) for features in near]

    def within(features: BlockedFeatures, times: np.ndarray) -> float:
        (sums, own), count = features.kernels, float(times @ features.sizes)
        return float(times @ sums @ times - times @ own) / (count * (count - 1))

    def draw(near_weights: np.ndarray, far_weights: np.ndarray) -> list[float]:
        within_far, patches = within(far, far_weights), float(far_weights @ far.sizes)
        return [
            within(features, near_weights)
            + within_far
            - 2 * float(near_weights @ sums @ far_weights) / (float(near_weights @ features.sizes) * patches)
            for features, sums in zip(near, between, strict=True)
        ]

    return draw
