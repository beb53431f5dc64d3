"""Compute distances between two sets of features `(n, d)`: Frechet, kernel, precision, recall, density, coverage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.shapes import shaped

Patches = Annotated[np.ndarray, "patches features"]
OtherPatches = Annotated[np.ndarray, "others features"]
Mean = Annotated[np.ndarray, "features"]
Covariance = Annotated[np.ndarray, "features features"]

CHUNK = 1024
"""Rows of a distance matrix computed at once."""


@dataclass
class Moments:
    """Mean and covariance of features added in batches, float64 (Chan et al. 1979)."""

    count: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scatter: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, batch: np.ndarray) -> Moments:
        """Add features `(n, d)` and return self."""
        batch = _checked(batch)
        if not self.count:
            self.mean, self.scatter = np.zeros(batch.shape[1]), np.zeros((batch.shape[1],) * 2)
        if len(batch):
            mean = batch.mean(0)
            shift, total = mean - self.mean, self.count + len(batch)
            centred = batch - mean
            self.scatter += centred.T @ centred + np.outer(shift, shift) * (self.count * len(batch) / total)
            self.mean = self.mean + shift * (len(batch) / total)
            self.count = total
        return self

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, `(d, d)`; raises `BadInput` with fewer than two patches."""
        if self.count < 2:
            raise BadInput(f"a covariance needs at least 2 patches, there are {self.count}: cut more patches")
        return self.scatter / (self.count - 1)

    @property
    def rank_deficient(self) -> bool:
        """Whether there are too few patches for a covariance of full rank."""
        return self.count <= len(self.mean)


def moments(batches: Iterable[np.ndarray]) -> Moments:
    """Return the moments of all batches together."""
    result = Moments()
    for batch in batches:
        result.add(batch)
    return result


@shaped
def frechet(mean1: Mean, cov1: Covariance, mean2: Mean, cov2: Covariance) -> float:
    """Return the squared Frechet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017).

    `|mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2))`, by two symmetric eigendecompositions, which stay
    exact for rank-deficient covariances. Raises `BadInput` if the shapes differ or a number is not finite.
    """
    return FrechetTo(mean2, cov2)(mean1, cov1)


class FrechetTo:
    """The Frechet distance to one Gaussian, whose square root is computed once: `FrechetTo(mean, cov)(mean1, cov1)`."""

    def __init__(self, mean: np.ndarray, cov: np.ndarray) -> None:
        if mean.ndim != 1 or cov.shape != (len(mean),) * 2 or not (np.isfinite(mean).all() and np.isfinite(cov).all()):
            raise BadInput(f"mean {mean.shape} and covariance {cov.shape} do not describe a Gaussian")
        values, vectors = np.linalg.eigh(cov)
        self.mean, self.trace = mean, float(np.trace(cov))
        self.root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    def __call__(self, mean: np.ndarray, cov: np.ndarray) -> float:
        """Return the squared distance, at least 0."""
        if mean.shape != self.mean.shape or cov.shape != self.root.shape:
            raise BadInput(f"features of {len(mean)} and {len(self.mean)} numbers do not compare: use one network")
        inner = self.root @ cov @ self.root
        values = np.linalg.eigvalsh((inner + inner.T) / 2)
        cross = float(np.sqrt(np.maximum(values, 0)).sum())
        difference = mean - self.mean
        return max(0.0, float(difference @ difference) + float(np.trace(cov)) + self.trace - 2 * cross)


@shaped
def fid(first: Patches, second: OtherPatches) -> float:
    """Return the squared Frechet distance of two sets of features, biased upwards by about c/n."""
    a, b = Moments().add(first), Moments().add(second)
    return frechet(a.mean, a.covariance, b.mean, b.covariance)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel distance over random subsets."""

    value: float
    """Mean over subsets; unbiased, so that it may be negative."""
    deviation: float
    """Standard deviation over subsets of this size."""
    low: float
    """2.5th percentile over subsets."""
    high: float
    """97.5th percentile."""
    subsets: int
    size: int
    """Patches of each set in a subset."""


@shaped
def kernel(
    first: Patches, second: OtherPatches, *, subsets: int = 100, size: int | None = None, seed: int = 0
) -> Kernel:
    """Return the kernel Inception distance (Binkowski et al. 2018): unbiased MMD^2, kernel `(x.y/d + 1)^3`.

    Subsets are drawn without replacement, by default of 1000 patches or half of the smaller set. If the subsets equal
    the whole sets, there is only one, and its spread is NaN. Raises `BadInput` if a set has fewer than 2 patches or
    fewer than `size`.
    """
    first, second = _checked(first), _checked(second)
    least = min(len(first), len(second))
    size = max(2, min(1000, least // 2)) if size is None else size
    _need_patches(least, max(size, 2), "a kernel distance")
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            mmd(*(features[rng.choice(len(features), size, replace=False)] for features in (first, second)))
            for _ in range(1 if size == len(first) == len(second) else subsets)
        ]
    )
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) > 1 else (np.nan, np.nan)
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Kernel(
        value=float(values.mean()), deviation=spread, low=float(low), high=float(high), subsets=len(values), size=size
    )


@shaped
def mmd(first: Patches, second: OtherPatches) -> float:
    """Return the unbiased squared maximum mean discrepancy, cubic kernel (Gretton et al. 2012, equation 3)."""
    first, second = _checked(first), _checked(second)
    m, n = len(first), len(second)
    _need_patches(min(m, n), 2, "a kernel distance")
    totals = [_kernel_sum(a, b) for a, b in ((first, first), (second, second), (first, second))]
    diagonals = [float(((np.einsum("ij,ij->i", a, a) / a.shape[1] + 1) ** 3).sum()) for a in (first, second)]
    within = (totals[0] - diagonals[0]) / (m * (m - 1)) + (totals[1] - diagonals[1]) / (n * (n - 1))
    return within - 2 * totals[2] / (m * n)


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    return sum(float(((a[i : i + CHUNK] @ b.T / a.shape[1] + 1) ** 3).sum()) for i in range(0, len(a), CHUNK))


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Scores from k-nearest-neighbour balls; all are in 0..1 except density."""

    precision: float
    """Fraction of outputs within the target's manifold (Kynkaanniemi et al. 2019)."""
    recall: float
    """Fraction of the target within the outputs' manifold."""
    density: float
    """Mean number of target balls that contain an output, divided by k; may exceed 1 (Naeem et al. 2020)."""
    coverage: float
    """Fraction of target balls that contain an output."""
    k: int
    patches: tuple[int, int]


@shaped
def prdc(output: Patches, target: OtherPatches, *, k: int = 5, at_most: int = 10_000, seed: int = 0) -> Neighbours:
    """Return precision, recall, density and coverage of the output's features with respect to the target's.

    Balls extend to the k-th nearest other patch of the same set. Sets of more than `at_most` patches are subsampled.
    Raises `BadInput` unless each set holds more than k patches.
    """
    rng = np.random.default_rng(seed)
    sets = [_checked(features) for features in (output, target)]
    sets = [
        features[np.sort(rng.choice(len(features), at_most, replace=False))] if len(features) > at_most else features
        for features in sets
    ]
    _need_patches(min(map(len, sets)), k + 1, f"precision and recall with k = {k}")
    fake, real = sets
    fake_radius, real_radius = _radii(fake, k), _radii(real, k)
    precise, recalled, dense, nearest = [], np.zeros(len(real), bool), 0, np.full(len(real), np.inf)
    for i in range(0, len(fake), CHUNK):
        squared = _squared(fake[i : i + CHUNK], real)
        inside = squared < real_radius
        precise.append(inside.any(1))
        dense += int(inside.sum())
        recalled |= (squared < fake_radius[i : i + CHUNK, None]).any(0)
        nearest = np.minimum(nearest, squared.min(0))
    return Neighbours(
        precision=float(np.concatenate(precise).mean()),
        recall=float(recalled.mean()),
        density=dense / (k * len(fake)),
        coverage=float((nearest < real_radius).mean()),
        k=k,
        patches=(len(fake), len(real)),
    )


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Return squared distances to the k-th nearest other point."""
    parts = [np.partition(_squared(points[i : i + CHUNK], points), k, axis=1) for i in range(0, len(points), CHUNK)]
    return np.concatenate([part[:, k] for part in parts])


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    result: np.ndarray = np.maximum(norms - 2 * (a @ b.T), 0)
    return result


def _checked(features: np.ndarray) -> np.ndarray:
    """Return features as float64 `(n, d)`; raise `BadInput` unless they are finite."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not features.shape[1]:
        raise BadInput(f"features have shape {features.shape}: give one row per patch")
    if not np.isfinite(features).all():
        raise BadInput("features hold NaN or infinite numbers: look for such voxels in the volume")
    return features


def _need_patches(count: int, least: int, statistic: str) -> None:
    if count < least:
        raise BadInput(f"{statistic} needs at least {least} patches of each set, there are {count}: cut more patches")
