"""Measure distances of outputs from a target in the features of a network, relative to a floor and a ceiling."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vol2vol.errors import AlreadyExists, BadInput, quoted
from vol2vol.evaluation.compare import plain, warn_of_ranges
from vol2vol.files import check_place
from vol2vol.intensity import Intensity
from vol2vol.metrics.distances.cut_patches import Cutting
from vol2vol.metrics.distances.encoder import EncoderSettings, train_encoder
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
class FeatureSpace:
    """The feature space of a network: the network and the intensity map of its inputs."""

    name: str
    """The name in results; features of different names are never compared."""
    network: nn.Module
    """Images `(B, C, Y, X)`, cubes `(B, C, Z, Y, X)`, in 0..1 to features `(B, d)`."""
    grey: Intensity
    """Maps the stored values of every volume to 0..255, such as `grey_map(target)`."""


def feature_space(
    features: str,
    target: Volume,
    cutting: Cutting | None = None,
    *,
    weights: str | Path | None = None,
    keep: str | Path | None = None,
) -> FeatureSpace:
    """Return the feature space of `inception` (published weights), of an `encoder` trained now, or of a stored encoder.

    `features` is `inception`, `encoder` or the folder of a stored encoder; `weights` is a file of Inception weights. A
    new encoder is trained on patches of the target cut by `cutting`, and written to the folder `keep`. Raises
    `NotFound` if weights or encoder are missing, `AlreadyExists` if `keep` exists, `BadInput` if a stored encoder was
    trained on other planes.
    """
    cutting = cutting or Cutting()
    if keep is not None and features != "encoder":
        raise BadInput("`keep` is for an encoder that is trained now: add `features` encoder, or leave it out")
    if keep is not None:
        check_place(local_path(keep, "an encoder"))
    if features == "inception":
        return FeatureSpace(name="inception", network=load_inception(weights), grey=grey_map(target))
    if weights is not None:
        raise BadInput("`weights` belong to `features` inception: leave one of them out")
    if features != "encoder":
        trained = load_encoder(features)
    elif keep is not None and local_path(keep, "an encoder").exists():
        raise AlreadyExists(f"{keep} exists: choose another name, or use it as `features` {quoted(keep)}")
    else:
        trained = train_encoder(
            target, EncoderSettings(planes=(cutting.axis,), crop=min(EncoderSettings.crop, cutting.size))
        )
    if cutting.axis not in trained.settings.planes:
        planes = ", ".join(trained.settings.planes)
        raise BadInput(
            f"{features} was trained on {planes} patches, not {cutting.axis}: train another, or cut {planes}"
        )
    if keep is not None:
        save_encoder(keep, trained)
    return FeatureSpace(name=f"encoder {trained.hash[:12]}", network=trained.network, grey=trained.grey)


def evaluate_distance(
    source: Volume,
    output: Volume,
    target: Volume,
    space: FeatureSpace | str = "inception",
    cutting: Cutting | None = None,
    *,
    resamples: int = 100,
) -> dict[str, Any]:
    """Return FID and KID of an output with floor, ceiling, gap closed and interval, and the effect of the sample size.

    `space` is a feature space, or the first argument of `feature_space`. `cutting` says how patches are cut, by default
    20 000 patches of 128^2 voxels.

    `value`, `floor` and `ceiling` use as many patches as the smaller half of the target has (their `patches`), and the
    interval lies around that value; `sample size`, `extrapolated` and the scores after them use all patches (`patches`
    at the top). Intervals are None if a volume holds fewer than four cubes, see `interval_over_cubes`; `resamples` 0
    leaves them out. Raises `BadInput` if a volume holds too few patches.
    """
    cutting = cutting or Cutting()
    space = feature_space(space, target, cutting) if isinstance(space, str) else space
    warn_of_ranges(output, target)
    volumes = (source, output, target)
    before, after, real = (extract(volume, space.network, space.grey, cutting, name=space.name) for volume in volumes)
    result: dict[str, Any] = {
        "features": space.name,
        "patches": min(map(len, (before, after, real))),
        "size": cutting.size,
    }
    for name, distance in DISTANCES.items():
        scaled = scale(before, after, real, distance)
        log.info("%s %.4g, before its interval is computed", name, scaled.value)
        result[name] = {**_plain_scale(scaled), **_interval((after, real), distance, scaled.value, resamples)}
    size = extrapolated(after.values, real.values)
    result["fid"]["sample size"] = size.statement
    result["fid"]["extrapolated"] = plain(size.infinite)
    result["kid"]["over subsets"] = plain(asdict(kernel(after.values, real.values)))
    result["prdc"] = plain(asdict(prdc(after.values, real.values)))
    return result


def _plain_scale(scaled: Scale) -> dict[str, Any]:
    result: dict[str, Any] = plain(
        {**asdict(scaled), "gap closed": scaled.gap_closed, "rank deficient": scaled.rank_deficient}
    )
    return result


def _interval(sets: tuple[Features, Features], distance: Distance, value: float, resamples: int) -> dict[str, Any]:
    """Return the interval of a distance around its value, or the reason why there is none."""
    if not resamples:
        return {"interval": None}
    try:
        interval = interval_over_cubes(*sets, distance, resamples, around=value)
    except BadInput as error:
        return {"interval": None, "no interval": str(error)}
    return {"interval": plain({"low": interval.low, "high": interval.high, "blocks": interval.blocks})}
