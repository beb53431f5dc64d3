"""Put a distance to the target on a scale between a floor and a ceiling, and estimate its bias.

A distance alone is hard to interpret: it decreases with the number of patches even if nothing else changes. All
distances of a scale are therefore between sets of equal size, and are reported with the distances between two halves of
the target (floor), between two random draws of the target (chance: only the bias), and from the untranslated source
(ceiling).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Interval, Resampling, draw_weights, interval_of
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.resampling import BlockedFeatures, Distance, draw_function
from vol2vol.metrics.distances.set_distances import fid, mmd

DISTANCES: dict[str, Distance] = {"fid": fid, "kid": mmd}
MIN_PATCHES = 16
"""Minimum number of patches per set for a scale."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A distance between outputs and target with its floor and ceiling, all between sets of equal size."""

    value: float
    """Outputs to target."""
    floor: float
    """Between spatially disjoint halves of the target: the value of a perfect translation."""
    chance: float
    """Between two random draws of the target: only the bias of this number of patches."""
    ceiling: float
    """Source to target: the value without translation."""
    patches: int
    """Patches in each set."""
    features: int
    """Number of features per patch."""

    @property
    def rank_deficient(self) -> bool:
        """Whether there are fewer patches than features: a Frechet distance is then mostly bias, see `chance`."""
        return self.patches <= self.features

    @property
    def gap_closed(self) -> float:
        """(ceiling - value) / (ceiling - floor): 0 untranslated, 1 as good as the target; NaN without a gap."""
        gap = self.ceiling - self.floor
        return (self.ceiling - self.value) / gap if gap > 0 else float("nan")


def scale(source: Features, output: Features, target: Features, distance: Distance = fid, *, seed: int = 0) -> Scale:
    """Return the distance from outputs to target with its floor and ceiling.

    Raises `BadInput` if sets have features of different networks or planes, or hold too few patches.
    """
    _same_view([source, output, target])
    first, second = target.halves()
    size = min(map(len, (source, output, first, second)))
    if size < MIN_PATCHES:
        raise BadInput(f"a scale needs {MIN_PATCHES} patches in each half of the target, there are {size}: cut more")
    sets = (source, output, first, second)  # sets of equal length get the same draw: source and output stay paired
    drawn = [
        features.values[np.random.default_rng(seed).choice(len(features), size, replace=False)] for features in sets
    ]
    rng = np.random.default_rng([seed, 1])
    mixed = target.values[rng.choice(len(target), 2 * size, replace=False)]
    return Scale(
        value=distance(drawn[1], mixed[:size]),
        floor=distance(drawn[2], drawn[3]),
        chance=distance(mixed[:size], mixed[size:]),
        ceiling=distance(drawn[0], mixed[:size]),
        patches=size,
        features=target.values.shape[1],
    )


def _same_view(sets: list[Features]) -> None:
    first = sets[0]
    for features in sets[1:]:
        same = (features.network, features.values.shape[1], features.cutting.axis, features.cutting.size)
        if same != (first.network, first.values.shape[1], first.cutting.axis, first.cutting.size):
            raise BadInput(
                f"{features.volume} has features of {features.network} in {features.cutting.axis} patches of "
                f"{features.cutting.size}, "
                f"{first.volume} of {first.network} in {first.cutting.axis} patches of {first.cutting.size}: "
                "use one network, plane and size"
            )


@dataclass(frozen=True, kw_only=True)
class Extrapolated:
    """A Frechet distance with the part that is due to the sample size."""

    value: float
    """The distance of all patches, to compare with published values of equal numbers of patches."""
    infinite: float
    """Extrapolated to infinitely many patches (FID_inf, Chong and Forsyth 2020)."""
    patches: int
    """Patches of the smaller set."""
    features: int
    rank_deficient: bool
    """Whether there are fewer patches than features: the value is then mostly bias; compare only at equal sizes."""
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    """The distances that the line through 1/n was fitted to."""

    @property
    def bias(self) -> float:
        """The part of `value` that more patches would remove."""
        return self.value - self.infinite

    @property
    def statement(self) -> str:
        """One sentence for a report."""
        sentence = f"{self.value:.4g} at {self.patches} patches, of which about {self.bias:.2g} is sample size"
        warning = f"; fewer patches than the {self.features} features: compare only at equal numbers"
        return sentence + (warning if self.rank_deficient else "")


def extrapolated(first: np.ndarray, second: np.ndarray, *, points: int = 8, seed: int = 0) -> Extrapolated:
    """Return the Frechet distance of all patches and its extrapolation, linear in 1/n, to infinitely many.

    Uses subsets of n patches of both sets, with n from a quarter of the patches (at least twice the features, if there
    are enough) to all, evenly spaced in 1/n. Raises `BadInput` with fewer than `MIN_PATCHES` patches.
    """
    count, width = min(len(first), len(second)), first.shape[1]
    if count < MIN_PATCHES:
        raise BadInput(f"an extrapolation needs {MIN_PATCHES} patches of each set, there are {count}: cut more patches")
    smallest = max(count // 4, min(count // 2, 2 * width))
    sizes = np.unique(np.rint(1 / np.linspace(1 / smallest, 1 / count, points)).astype(int))
    rng = np.random.default_rng(seed)
    values = [
        fid(*(features[rng.choice(len(features), n, replace=False)] for features in (first, second))) for n in sizes
    ]
    infinite = np.polyfit(1 / sizes, values, 1)[1]
    return Extrapolated(
        value=fid(first, second),
        infinite=float(infinite),
        patches=count,
        features=width,
        rank_deficient=count <= width,
        sizes=tuple(map(int, sizes)),
        values=tuple(values),
    )


def distance_interval(
    first: Features,
    second: Features,
    distance: Distance = fid,
    *,
    block: int,
    minus: Features | None = None,
    around: float | None = None,
    resampling: Resampling | None = None,
) -> Interval:
    """Return the interval of a distance from resampling cubes of `block` voxels of both volumes.

    With `minus`, it is the interval of `distance(first, second) - distance(minus, second)`: two outputs of one source,
    cut at the same places and resampled together. Repeated patches increase a distance as fewer patches would, so the
    draws are shifted to have their mean at the value; only their spread is used. The value is that of all patches, or
    `around`: the same distance at another number of patches, such as `Scale.value`. The interval is a percentile
    interval, widened for the blocks of the volume with fewer blocks. A draw of `mmd` costs microseconds, one of `fid` a
    matrix root (milliseconds with 128 features, seconds with 2048); the default is therefore 100 draws. Raises
    `BadInput` if a volume has fewer than four such cubes.
    """
    resampling = replace(resampling or Resampling(resamples=100), method="percentile")
    near = [first] if minus is None else [first, minus]
    _same_view([first, second] if minus is None else [first, second, minus])
    if minus is not None and not np.array_equal(minus.places, first.places):
        raise BadInput(f"{minus.volume} and {first.volume} were not cut at the same places: cut both with one seed")
    blocks = [_block_numbers(features, block) for features in (first, second)]
    seeds = [replace(resampling, seed=resampling.seed + i) for i in range(2)]
    weights = [draw_weights(int(b.max()) + 1, seed) for b, seed in zip(blocks, seeds, strict=True)]
    near_blocks = [BlockedFeatures.of(features.values, blocks[0]) for features in near]
    draw = draw_function(distance, near_blocks, BlockedFeatures.of(second.values, blocks[1]))

    def value(near_weights: np.ndarray, far_weights: np.ndarray) -> float:
        distances = draw(near_weights, far_weights)
        return distances[0] - sum(distances[1:])

    values = np.array([value(*pair) for pair in zip(*weights, strict=True)])
    center = value(*(np.ones(drawn.shape[1]) for drawn in weights)) if around is None else around
    count, null = min(drawn.shape[1] for drawn in weights), None if minus is None else 0.0
    return interval_of(center, values - values.mean() + center, resampling, blocks=count, null=null)


def interval_over_cubes(
    output: Features,
    target: Features,
    distance: Distance,
    resamples: int,
    *,
    around: float | None = None,
    minus: Features | None = None,
) -> Interval:
    """Return `distance_interval` over cubes of a quarter of the longest axis.

    Raises `BadInput` if a volume holds fewer than four cubes.
    """
    block = max(1, max(*output.spatial, *target.spatial) // 4)
    resampling = Resampling(resamples=resamples)
    return distance_interval(output, target, distance, block=block, minus=minus, around=around, resampling=resampling)


def _block_numbers(features: Features, block: int) -> np.ndarray:
    blocks = features.blocks(block)
    if blocks.max() < 3:
        raise BadInput(
            f"{features.volume} has {blocks.max() + 1} blocks of {block} voxels, an interval needs 4: use smaller ones"
        )
    return blocks
