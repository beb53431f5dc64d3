"""Whether an input's intensities and voxels fit those that its model was trained on; another range, measured."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity, Likeness, likeness, measure_like, sample
from vol2vol.intensity.comparing import FEW
from vol2vol.models.bundle import Bundle
from vol2vol.volumes import Volume, open_finished
from vol2vol.volumes.axes import convert
from vol2vol.volumes.places import SAME_SIZE

if TYPE_CHECKING:
    from vol2vol.prediction.job import Job
from vol2vol.prediction.reading import check_channels
from vol2vol.prediction.request import Request

log = logging.getLogger(__name__)


def measured_map(
    request: Request, bundle: Bundle, before: Mapping[str, Any], source: Volume | None = None
) -> dict[str, Any]:
    """Return the intensity map of the volume that a request names for it, with the volume's name and fingerprint.

    That may be the input itself, `source`, as of an array, which cannot be opened by its name.

    Taken over from the record of an earlier start that measured the same volume. Raises `BadInput` where its channels
    do not fit the model, it is constant, or the model reads stored values as they are.
    """
    (domain, *others) = bundle.translation(request.settings.direction).reads
    if others or not bundle.intensity[domain].clip:
        what = "several domains at once" if others else "stored values as they are"
        raise BadInput(f"this model reads {what}: leave out --intensity-from, or prepare a model for this data")
    named = str(request.settings.intensity_from)
    volume = source if source is not None and named == source.path else open_finished(named, **request.stated)
    check_channels(volume, bundle.channels[domain])
    known, fingerprint = before.get("intensity_from"), volume.fingerprint()
    if isinstance(known, dict) and known.get("fingerprint") == fingerprint:
        return known
    log.info("measuring the intensities of %s", volume.path)
    found = measure_like(bundle.intensity[domain], [volume], cure="leave out --intensity-from")
    return {"name": Path(volume.path).name, "fingerprint": fingerprint, "map": found.to_dict()}


def with_map(bundle: Bundle, direction: str, measured: Mapping[str, Any]) -> Bundle:
    """Return a bundle that reads stored values by a measured map."""
    (domain,) = bundle.translation(direction).reads
    return replace(bundle, intensity={**bundle.intensity, domain: Intensity.from_dict(measured["map"])})


def check_fit(job: Job) -> None:
    """Warn where an input's voxel size is not the model's; do what `check_intensities` does."""
    axes = (0, 1, 2)[-job.engine.footprint.dims :]
    for domain in job.translation.reads:
        facts = job.bundle.meta["provenance"].get("volumes", {}).get(domain, [])
        warn_voxel_size(job.source, facts, axes)
    check_intensities(job)


def warn_voxel_size(source: Volume, trained: Iterable[Mapping[str, Any]], axes: Sequence[int]) -> None:
    """Warn where voxels are larger or smaller than those of all volumes trained on, along axes (0 to 2: z, y, x).

    `trained` is what a model remembers of these volumes. Sizes without a unit cannot be compared.
    """
    sizes = {
        tuple(convert(length, fact["unit"], source.unit) for length in fact["voxel_size"])
        for fact in trained
        if fact.get("unit") and fact.get("voxel_size")
    }
    if not (source.sized and source.unit and sizes) or any(_alike(size, source.voxel_size, axes) for size in sizes):
        return
    has, knows = (" x ".join(f"{size[axis]:g}" for axis in axes) for size in (source.voxel_size, min(sizes)))
    log.warning(
        "%s has voxels of %s %s, the model was trained on %s: vol2vol prepare --resample changes their size",
        *(source.path, has, source.unit, knows),
    )


def _alike(size: Sequence[float], other: Sequence[float], axes: Sequence[int]) -> bool:
    return all(abs(size[a] - other[a]) <= SAME_SIZE * max(size[a], other[a]) for a in axes)


def check_intensities(job: Job) -> None:
    """Compare a sample of the input, within the region of interest, with what the model was trained on.

    Warns where more than a hundredth of its voxels lie outside the trained range or all of them in a tenth of it;
    raises `BadInput` where most lie outside or they take a vanishing part of it: the output would have no structure.
    A region that is darker than the rest is judged with the whole volume; a dark volume of the type that the model was
    trained on is not warned of, since it may show nothing.
    """
    region, first = job.layout.region, 0
    inside, whole = sample(job.source, region), None
    for domain in job.translation.reads:
        trained, channels = job.bundle.intensity[domain], slice(first, first + job.bundle.channels[domain])
        first = channels.stop
        if not trained.clip and not trained.maximum:
            continue  # labels, which stay the numbers they are
        found = likeness(inside[channels], trained)
        if found is not None and found.outside <= FEW and found.unlike and region.shape != job.source.spatial:
            whole = sample(job.source) if whole is None else whole
            found = likeness(whole[channels], trained)
        facts = job.bundle.meta["provenance"].get("volumes", {}).get(domain, [])
        same_type = str(job.source.dtype) in {fact.get("dtype") for fact in facts}
        if found is not None and found.unlike and not (same_type and found.fits and found.outside <= FEW):
            _tell(job, found, clipped=trained.clip)


def _tell(job: Job, found: Likeness, *, clipped: bool) -> None:
    """Warn of intensities that are unlike, raise `BadInput` for those that do not fit, unless any are allowed."""
    origin = "the model was trained on" if job.request.measured is None else "were measured"
    what = f"{job.source.path} does not have the intensities that {origin}: {found.words}"
    if found.fits or job.settings.any_intensity:
        log.warning("%s", what)
        return
    cure = f"--intensity-from {job.source.path} measures its own range (vol2vol adapt --intensity keeps it in a model)"
    if not clipped:
        cure = "fit the baseline on volumes of this kind"
    raise BadInput(f"{what}. Nothing was computed: {cure}; --any-intensity predicts as it is")
