"""How real outputs look, on a scale: a distance to the target between its floor and its ceiling, with its bias.

A bare distance says little: it falls with the number of patches even where nothing changes. Here every distance of a
scale is taken between sets of equal size, beside what two halves of the target (floor), two random draws of it
(chance: the bias alone) and the untranslated source (ceiling) are apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Interval, Resampling, draw_weights, interval_of
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.resampling import Blocked, Distance, draws_of
from vol2vol.metrics.distances.set_distances import fid, mmd

DISTANCES: dict[str, Distance] = {"fid": fid, "kid": mmd}
FEWEST = 16
"""Patches per set below which no scale is given."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A distance between outputs and target with its floor and ceiling, all between sets of equal size."""

    value: float
    """Outputs to target."""
    floor: float
    """One half of the target to the other, disjoint in space: what a perfect translation could reach."""
    chance: float
    """Two random draws of the target: the bias of this number of patches and nothing else."""
    ceiling: float
    """Source to target: what no translation gives."""
    patches: int
    """Patches in each set."""
    features: int
    """Numbers per patch."""

    @property
    def rank_deficient(self) -> bool:
        """Say whether there are fewer patches than features: a Frechet distance is then mostly bias, see `chance`."""
        return self.patches <= self.features

    @property
    def gap_closed(self) -> float:
        """(ceiling - value) / (ceiling - floor): 0 untranslated, 1 as good as the target; NaN without a gap."""
        gap = self.ceiling - self.floor
        return (self.ceiling - self.value) / gap if gap > 0 else float("nan")


def scale(source: Features, output: Features, target: Features, distance: Distance = fid, *, seed: int = 0) -> Scale:
    """Return the distance from outputs to target between its floor and ceiling.

    Raises `BadInput` where sets were seen by different networks or in different planes, or hold too few patches.
    """
    _same_view([source, output, target])
    first, second = target.halves()
    size = min(map(len, (source, output, first, second)))
    if size < FEWEST:
        raise BadInput(f"a scale needs {FEWEST} patches in each half of the target, there are {size}: cut more")
    sets = (source, output, first, second)  # the same draw from sets of one length: source and output stay paired
    drawn = [one.values[np.random.default_rng(seed).choice(len(one), size, replace=False)] for one in sets]
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
    for one in sets[1:]:
        same = (one.network, one.values.shape[1], one.cutting.axis, one.cutting.size)
        if same != (first.network, first.values.shape[1], first.cutting.axis, first.cutting.size):
            raise BadInput(
                f"{one.volume} was seen by {one.network} in {one.cutting.axis} patches of {one.cutting.size}, "
                f"{first.volume} by {first.network} in {first.cutting.axis} patches of {first.cutting.size}: "
                "use one network, plane and size"
            )


@dataclass(frozen=True, kw_only=True)
class Extrapolated:
    """A Frechet distance with the part of it that is sample size."""

    value: float
    """At all patches: the number to compare with published ones of as many patches."""
    infinite: float
    """Extrapolated to infinitely many (FID_inf, Chong and Forsyth 2020)."""
    patches: int
    """Patches of the smaller set."""
    features: int
    rank_deficient: bool
    """Fewer patches than features: covariances lack rank, the value is mostly bias, compare at equal size only."""
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
        said = f"{self.value:.4g} at {self.patches} patches, of which about {self.bias:.2g} is sample size"
        lacks = f"; fewer patches than the {self.features} features: compare only at equal numbers"
        return said + (lacks if self.rank_deficient else "")


def extrapolated(first: np.ndarray, second: np.ndarray, *, points: int = 8, seed: int = 0) -> Extrapolated:
    """Return the Frechet distance at all patches and, by a line through 1/n, at infinitely many.

    Subsets of n patches of both sets, n from a quarter of the patches (at least twice the features where there are
    as many) to all, evenly spaced in 1/n. Raises `BadInput` with fewer than `FEWEST` patches.
    """
    count, width = min(len(first), len(second)), first.shape[1]
    if count < FEWEST:
        raise BadInput(f"an extrapolation needs {FEWEST} patches of each set, there are {count}: cut more patches")
    least = max(count // 4, min(count // 2, 2 * width))
    sizes = np.unique(np.rint(1 / np.linspace(1 / least, 1 / count, points)).astype(int))
    rng = np.random.default_rng(seed)
    values = [fid(*(one[rng.choice(len(one), n, replace=False)] for one in (first, second))) for n in sizes]
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
    how: Resampling | None = None,
) -> Interval:
    """Return the interval of a distance from resampling cubes of `block` voxels of both volumes.

    With `minus`, of `distance(first, second) - distance(minus, second)`: two outputs of one source, cut at the same
    places and resampled together. Repeated patches push a distance up as fewer patches would, so that the draws are
    moved to have their mean at the value; their spread is what they say. The value is that of all patches, or
    `around`: one of the same distance at another number of patches, such as `Scale.value`. Percentiles, widened for
    the blocks of the volume that has fewer. A draw of `mmd` costs microseconds, one of `fid` a matrix root: moments
    with 128 features, seconds with 2048, so that the default is 100 draws. Raises `BadInput` where a volume has fewer
    than four such cubes.
    """
    how = replace(how or Resampling(resamples=100), method="percentile")
    near = [first] if minus is None else [first, minus]
    _same_view([first, second] if minus is None else [first, second, minus])
    if minus is not None and not np.array_equal(minus.places, first.places):
        raise BadInput(f"{minus.volume} and {first.volume} were not cut at the same places: cut both with one seed")
    blocks = [_numbered(one, block) for one in (first, second)]
    weights = [draw_weights(int(b.max()) + 1, replace(how, seed=how.seed + i)) for i, b in enumerate(blocks)]
    draw = draws_of(distance, [Blocked.of(one.values, blocks[0]) for one in near], Blocked.of(second.values, blocks[1]))

    def value(one: np.ndarray, two: np.ndarray) -> float:
        found = draw(one, two)
        return found[0] - sum(found[1:])

    values = np.array([value(*pair) for pair in zip(*weights, strict=True)])
    found = value(*(np.ones(one.shape[1]) for one in weights)) if around is None else around
    count, null = min(one.shape[1] for one in weights), None if minus is None else 0.0
    return interval_of(found, values - values.mean() + found, how, blocks=count, null=null)


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

    Raises `BadInput` where a volume holds fewer than four.
    """
    block = max(1, max(*output.spatial, *target.spatial) // 4)
    how = Resampling(resamples=resamples)
    return distance_interval(output, target, distance, block=block, minus=minus, around=around, how=how)


def _numbered(one: Features, block: int) -> np.ndarray:
    blocks = one.blocks(block)
    if blocks.max() < 3:
        raise BadInput(
            f"{one.volume} has {blocks.max() + 1} blocks of {block} voxels, an interval needs 4: use smaller blocks"
        )
    return blocks
