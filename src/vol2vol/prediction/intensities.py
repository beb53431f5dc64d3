"""Check that an input's intensities and voxel size fit the model's training data, or measure another range."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vol2vol.errors import BadInput, quoted
from vol2vol.intensity import Intensity, Likeness, likeness, measure_like, sample
from vol2vol.intensity.comparing import FEW
from vol2vol.models.bundle import Bundle
from vol2vol.volumes import Volume, open_finished
from vol2vol.volumes.axes import convert
from vol2vol.volumes.places import SAME_SIZE

if TYPE_CHECKING:
    from vol2vol.prediction.job import Job
from vol2vol.prediction.reading import check_channels, warn_untrained_march
from vol2vol.prediction.request import Request

log = logging.getLogger(__name__)


def measured_map(
    request: Request, bundle: Bundle, before: Mapping[str, Any], source: Volume | None = None
) -> dict[str, Any]:
    """Return the intensity map of a request's `intensity_from` volume, with the volume's name and fingerprint.

    `source` is the open input, for inputs that cannot be opened by name, such as arrays. A map in `before`, the record
    of an earlier start, is reused if it was measured on the same volume. Raises `BadInput` if the volume is constant,
    its channels do not fit the model, or the model reads stored values unchanged.
    """
    (domain, *others) = bundle.translation(request.settings.direction).reads
    if others or not bundle.intensity[domain].clip:
        inputs = "several domains at once" if others else "stored values unchanged"
        raise BadInput(f"this model reads {inputs}: leave out `intensity_from`, or prepare a model for this data")
    name = str(request.settings.intensity_from)
    volume = source if source is not None and name == source.path else open_finished(name, **request.stated)
    check_channels(volume, bundle.channels[domain])
    known, fingerprint = before.get("intensity_from"), volume.fingerprint()
    if isinstance(known, dict) and known.get("fingerprint") == fingerprint:
        return known
    log.info("measuring the intensities of %s", volume.path)
    measured = measure_like(bundle.intensity[domain], [volume], cure="leave out `intensity_from`")
    return {"name": Path(volume.path).name, "fingerprint": fingerprint, "map": measured.to_dict()}


def with_map(bundle: Bundle, direction: str, measured: Mapping[str, Any]) -> Bundle:
    """Return a bundle whose input intensities are mapped by a measured map."""
    (domain,) = bundle.translation(direction).reads
    return replace(bundle, intensity={**bundle.intensity, domain: Intensity.from_dict(measured["map"])})


def check_fit(job: Job) -> None:
    """Check an input's voxel size (`warn_voxel_size`), the strategy, and intensities (`check_intensities`)."""
    warn_untrained_march(job.settings, job.translation.applied)
    axes = (0, 1, 2)[-job.engine.footprint.dims :]
    for domain in job.translation.reads:
        facts = job.bundle.meta["provenance"].get("volumes", {}).get(domain, [])
        warn_voxel_size(job.source, facts, axes)
    check_intensities(job)


def warn_voxel_size(source: Volume, trained: Iterable[Mapping[str, Any]], axes: Sequence[int]) -> None:
    """Warn if voxels are larger or smaller than in every training volume, along `axes` (0 to 2: z, y, x).

    `trained` holds a model's records of its training volumes. Sizes without a unit are not compared.
    """
    sizes = {
        tuple(convert(length, fact["unit"], source.unit) for length in fact["voxel_size"])
        for fact in trained
        if fact.get("unit") and fact.get("voxel_size")
    }
    if not (source.sized and source.unit and sizes) or any(_alike(size, source.voxel_size, axes) for size in sizes):
        return
    source_size, trained_size = (
        " x ".join(f"{size[axis]:g}" for axis in axes) for size in (source.voxel_size, min(sizes))
    )
    log.warning(
        "%s has voxels of %s %s, the model was trained on %s: vol2vol prepare `resample` changes their size",
        *(source.path, source_size, source.unit, trained_size),
    )


def _alike(size: Sequence[float], other: Sequence[float], axes: Sequence[int]) -> bool:
    return all(abs(size[a] - other[a]) <= SAME_SIZE * max(size[a], other[a]) for a in axes)


def check_intensities(job: Job) -> None:
    """Compare a sample of the input, within the region of interest, with the intensities of the training data.

    Warns if more than 1 % of the voxels lie outside the trained range or all of them lie within a tenth of it. Raises
    `BadInput` if most lie outside, or all fill a negligible part of it: the output would have no structure. A region
    darker than the rest is judged by the whole volume. A dark volume of the same dtype as the training data causes no
    warning, since it may be empty.
    """
    region, first = job.layout.region, 0
    inside, whole = sample(job.source, region), None
    for domain in job.translation.reads:
        trained, channels = job.bundle.intensity[domain], slice(first, first + job.bundle.channels[domain])
        first = channels.stop
        if not trained.clip and not trained.maximum:
            continue  # labels, which are not mapped
        fit = likeness(inside[channels], trained)
        if fit is not None and fit.outside <= FEW and fit.unlike and region.shape != job.source.spatial:
            whole = sample(job.source) if whole is None else whole
            fit = likeness(whole[channels], trained)
        facts = job.bundle.meta["provenance"].get("volumes", {}).get(domain, [])
        same_type = str(job.source.dtype) in {fact.get("dtype") for fact in facts}
        if fit is not None and fit.unlike and not (same_type and fit.fits and fit.outside <= FEW):
            _report(job, fit, clipped=trained.clip)


def _report(job: Job, fit: Likeness, *, clipped: bool) -> None:
    """Warn of deviating intensities; raise `BadInput` for those that do not fit, unless `any_intensity` is set."""
    origin = "the model was trained on" if job.request.measured is None else "were measured"
    message = f"{job.source.path} does not have the intensities that {origin}: {fit.words}"
    if fit.fits or job.settings.any_intensity:
        log.warning("%s", message)
        return
    option = f"`intensity_from` {quoted(job.source.path)}"
    cure = f"{option} measures its own range (vol2vol adapt `intensity` keeps it in a model)"
    if not clipped:
        cure = "fit the baseline on volumes of this kind"
    raise BadInput(f"{message}. Nothing was computed: {cure}; `any_intensity` predicts anyway")
