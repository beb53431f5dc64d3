"""How far outputs are from a target in the eyes of a feature network, between a floor and a ceiling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity
from vol2vol.metrics.bootstrap import Interval, Resampling
from vol2vol.metrics.distances import fid, kernel, mmd, prdc
from vol2vol.metrics.encoder import train_encoder
from vol2vol.metrics.features import Features, extract, grey_map
from vol2vol.metrics.patches import Cutting
from vol2vol.metrics.realism import Scale, distance_interval, extrapolated, scale
from vol2vol.metrics.resampled import Distance
from vol2vol.metrics.rulers import load_encoder
from vol2vol.metrics.weights import load_inception
from vol2vol.recipes.evaluate import plain
from vol2vol.volumes import Volume

DISTANCES: dict[str, Distance] = {"fid": fid, "kid": mmd}


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """A feature network with the intensity map that goes with it."""

    name: str
    network: nn.Module
    grey: Intensity


def ruler(features: str, target: Volume, weights: str | Path | None = None) -> Ruler:
    """Return `inception` (published weights, `weights` a file), `encoder` (trained on the target now), or a folder.

    Raises `NotFound` where weights or encoder are missing.
    """
    if features == "inception":
        return Ruler(name="inception", network=load_inception(weights), grey=grey_map(target))
    if weights is not None:
        raise BadInput("--weights belong to --features inception: leave one of them out")
    trained = train_encoder(target) if features == "encoder" else load_encoder(features)
    return Ruler(name=f"encoder {trained.hash[:12]}", network=trained.network, grey=trained.grey)


def evaluate_distance(
    source: Volume, output: Volume, target: Volume, by: Ruler, cutting: Cutting, *, resamples: int = 100
) -> dict[str, Any]:
    """Return FID and KID of an output with floor, ceiling, gap closed and interval, and how far size matters.

    `value`, `floor` and `ceiling` are of `patches` patches each, the smaller half of the target, and the interval lies
    around that value; `sample size`, `extrapolated` and the like are of all patches, `patches` at the top. Intervals
    are None where a volume holds fewer than four cubes, see `interval_over_cubes`; `resamples` 0 leaves them out.
    Raises `BadInput` where volumes hold too few patches.
    """
    volumes = (source, output, target)
    before, after, real = (extract(one, by.network, by.grey, cutting, name=by.name) for one in volumes)
    result: dict[str, Any] = {
        "features": by.name,
        "patches": min(map(len, (before, after, real))),
        "size": cutting.size,
    }
    for name, distance in DISTANCES.items():
        found = scale(before, after, real, distance)
        result[name] = {**_told(found), **_interval((after, real), distance, found.value, resamples)}
    size = extrapolated(after.values, real.values)
    result["fid"]["sample size"] = size.statement
    result["fid"]["extrapolated"] = plain(size.infinite)
    result["kid"]["over subsets"] = plain(asdict(kernel(after.values, real.values)))
    result["prdc"] = plain(asdict(prdc(after.values, real.values)))
    return result


def _told(found: Scale) -> dict[str, Any]:
    return plain({**asdict(found), "gap closed": found.gap_closed, "rank deficient": found.rank_deficient})


def _interval(sets: tuple[Features, Features], distance: Distance, value: float, resamples: int) -> dict[str, Any]:
    """Return the interval of a distance around its value, or why there is none."""
    if not resamples:
        return {"interval": None}
    try:
        found = interval_over_cubes(*sets, distance, resamples, around=value)
    except BadInput as error:
        return {"interval": None, "no interval": str(error)}
    return {"interval": plain({"low": found.low, "high": found.high, "blocks": found.blocks})}


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
