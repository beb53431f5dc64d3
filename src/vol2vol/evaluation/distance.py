"""How far outputs are from a target in the eyes of a feature network, between a floor and a ceiling."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.evaluation.compare import plain, warn_of_ranges
from vol2vol.files import check_place
from vol2vol.intensity import Intensity
from vol2vol.metrics.distances.cut_patches import Cutting
from vol2vol.metrics.distances.encoder import Lesson, train_encoder
from vol2vol.metrics.distances.encoder_file import load_encoder, save_encoder
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.features import extract, grey_map
from vol2vol.metrics.distances.inception_weights import load_inception
from vol2vol.metrics.distances.resampling import Distance
from vol2vol.metrics.distances.scale import DISTANCES, Scale, extrapolated, interval_over_cubes, scale
from vol2vol.metrics.distances.set_distances import kernel, prdc
from vol2vol.volumes import Volume
from vol2vol.volumes.addresses import local_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """A feature network with the intensity map that goes with it."""

    name: str
    """What results call it; features of different names are not compared."""
    network: nn.Module
    """Images `(B, C, Y, X)`, cubes `(B, C, Z, Y, X)`, in 0..1 to features `(B, d)`."""
    grey: Intensity
    """Stored values of every volume to 0..255, such as `grey_map(target)`."""


def ruler(
    features: str,
    target: Volume,
    cutting: Cutting | None = None,
    *,
    weights: str | Path | None = None,
    keep: str | Path | None = None,
) -> Ruler:
    """Return `inception` (published weights, `weights` a file), `encoder` (trained on the target now), or a folder's.

    An encoder is trained on patches as they are cut, and written to the folder `keep`. Raises `NotFound` where weights
    or encoder are missing, `AlreadyExists` where `keep` is taken, `BadInput` where a stored encoder saw other planes.
    """
    cutting = cutting or Cutting()
    if keep is not None and features != "encoder":
        raise BadInput("--keep is for an encoder that is trained now: add --features encoder, or leave it out")
    if keep is not None:
        check_place(local_path(keep, "an encoder"))
    if features == "inception":
        return Ruler(name="inception", network=load_inception(weights), grey=grey_map(target))
    if weights is not None:
        raise BadInput("--weights belong to --features inception: leave one of them out")
    if features != "encoder":
        trained = load_encoder(features)
    elif keep is not None and local_path(keep, "an encoder").exists():
        raise AlreadyExists(f"{keep} exists: choose another name, or use it as --features {keep}")
    else:
        trained = train_encoder(target, Lesson(planes=(cutting.axis,), crop=min(Lesson.crop, cutting.size)))
    if cutting.axis not in trained.lesson.planes:
        seen = ", ".join(trained.lesson.planes)
        raise BadInput(
            f"{features} was trained on {seen} patches, not {cutting.axis}: train one on these, or cut those"
        )
    if keep is not None:
        save_encoder(keep, trained)
    return Ruler(name=f"encoder {trained.hash[:12]}", network=trained.network, grey=trained.grey)


def evaluate_distance(
    source: Volume,
    output: Volume,
    target: Volume,
    by: Ruler | str = "inception",
    cutting: Cutting | None = None,
    *,
    resamples: int = 100,
) -> dict[str, Any]:
    """Return FID and KID of an output with floor, ceiling, gap closed and interval, and how far size matters.

    `by` is a feature network, or what `ruler` makes one of; `cutting` how patches are cut, by default 20 000 of 128^2.

    `value`, `floor` and `ceiling` are of `patches` patches each, the smaller half of the target, and the interval lies
    around that value; `sample size`, `extrapolated` and the like are of all patches, `patches` at the top. Intervals
    are None where a volume holds fewer than four cubes, see `interval_over_cubes`; `resamples` 0 leaves them out.
    Raises `BadInput` where volumes hold too few patches.
    """
    cutting = cutting or Cutting()
    by = ruler(by, target, cutting) if isinstance(by, str) else by
    warn_of_ranges(output, target)
    volumes = (source, output, target)
    before, after, real = (extract(one, by.network, by.grey, cutting, name=by.name) for one in volumes)
    result: dict[str, Any] = {
        "features": by.name,
        "patches": min(map(len, (before, after, real))),
        "size": cutting.size,
    }
    for name, distance in DISTANCES.items():
        found = scale(before, after, real, distance)
        log.info("%s %.4g, before its interval is drawn", name, found.value)
        result[name] = {**_told(found), **_interval((after, real), distance, found.value, resamples)}
    size = extrapolated(after.values, real.values)
    result["fid"]["sample size"] = size.statement
    result["fid"]["extrapolated"] = plain(size.infinite)
    result["kid"]["over subsets"] = plain(asdict(kernel(after.values, real.values)))
    result["prdc"] = plain(asdict(prdc(after.values, real.values)))
    return result


def _told(found: Scale) -> dict[str, Any]:
    result: dict[str, Any] = plain(
        {**asdict(found), "gap closed": found.gap_closed, "rank deficient": found.rank_deficient}
    )
    return result


def _interval(sets: tuple[Features, Features], distance: Distance, value: float, resamples: int) -> dict[str, Any]:
    """Return the interval of a distance around its value, or why there is none."""
    if not resamples:
        return {"interval": None}
    try:
        found = interval_over_cubes(*sets, distance, resamples, around=value)
    except BadInput as error:
        return {"interval": None, "no interval": str(error)}
    return {"interval": plain({"low": found.low, "high": found.high, "blocks": found.blocks})}
