"""Everything that is measured on a translated volume itself: seams, distances, fidelity, structure, cycle."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vol2vol.checkpoints import find_bundle
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.cycle import cycle_error, quantised
from vol2vol.metrics.features import Features
from vol2vol.metrics.fidelity import to_source, to_truth
from vol2vol.metrics.realism import scale
from vol2vol.metrics.resampled import Distance
from vol2vol.metrics.verdicts import SeamReport, SeamRow, overall
from vol2vol.prediction import PredictSettings, predict
from vol2vol.recipes.certificate import certify
from vol2vol.recipes.distance import DISTANCES, Ruler, interval_over_cubes
from vol2vol.recipes.seams import evaluate_seams, seam_sentence
from vol2vol.recipes.trials.findings import Findings
from vol2vol.recipes.trials.making import Model, Workshop
from vol2vol.recipes.trials.origins import origin_of, write_part
from vol2vol.recipes.trials.shifting import disagreement
from vol2vol.recipes.trials.trials import Trial
from vol2vol.volumes import open_volume


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trial with its volume and what it is compared with."""

    trial: Trial
    volume: Path
    source: Path
    truth: Path | None
    block: Shape
    first: Path | None
    """The volume of the same checkpoint and assembly in the study's first strategy, where that is another one."""
    model: Model | None
    settings: PredictSettings | None
    """How the volume was predicted, if it was."""


def measure_seams(subject: Subject, found: Findings) -> None:
    """Test the volume for seams; of several passes, which are corrected together, the clearest answer counts."""
    volume, source = open_volume(subject.volume), open_volume(subject.source)
    reports = [one for one in evaluate_seams(volume, source) if isinstance(one, SeamReport)]  # type: ignore[union-attr]
    clearest: dict[tuple[str, str], SeamRow] = {}
    for report in reports:
        for row in report.rows:
            kept = clearest.get((row.axis, row.test))
            if row.verdict != "not tested" and (kept is None or row.p < kept.p):
                clearest[row.axis, row.test] = row
    for (axis, test), row in clearest.items():
        name = f"seams/{test.lower()}/{axis}"
        found.number(name, row.statistic, row.low, row.high)
        found.number(f"{name}/p", row.p_corrected)
        found.number(f"{name}/source", row.source)
    found.notes["seams"] = " ".join(dict.fromkeys(map(seam_sentence, reports)))
    found.notes["seams/verdict"] = overall(reports)


def measure_mismatch_of(subject: Subject, found: Findings) -> None:
    """Predict again with the tiles elsewhere, and ask the model what two tiles make of the same voxels at their border.

    `mismatch/tile` and `mismatch/largest` are of this volume's stitching, the others of the model, wherever it is cut.
    """
    assert subject.model is not None, subject
    which = f"epoch-{subject.trial.checkpoint:04d}"
    source, model = open_volume(subject.source), subject.model
    said = certify(model.path, source, direction=model.direction, which=which)
    found.number("mismatch/border", said.mismatch.by_distance[0])
    found.number("mismatch/disparity", said.mismatch.disparity)
    found.number("mismatch/invariance", said.mismatch.invariance)
    found.number("mismatch/aliasing", said.mismatch.aliasing)
    tile = " x ".join(map(str, said.mismatch.typical))
    found.notes["mismatch/border"] = (
        f"{said.sentence} Border and disparity: tiles of {tile}, {said.mismatch.places} places."
    )
    assert subject.settings is not None, subject
    mean, largest = disagreement(subject.volume, subject.source, model.path, which, subject.settings)
    found.number("mismatch/tile", mean)
    found.number("mismatch/largest", largest)


def measure_distances(shop: Workshop, subject: Subject, rulers: list[Ruler], found: Findings) -> None:
    """Measure how far the volume is from the target's training part, between floor and ceiling."""
    target = shop.parts.image(subject.trial.target, "train")
    for by in rulers:
        kind = by.name.split()[0]
        for plane in shop.study.distance.planes:
            before = shop.features(subject.source, by, plane)
            real = shop.features(target, by, plane, times=2)
            same = subject.volume == subject.source
            after = before if same else shop.seen(subject.volume, by, plane, like=before)
            for name, distance in DISTANCES.items():
                seen = scale(before, after, real, distance)
                named = f"distance/{kind}/{name}/{plane}"
                low, high = _interval(shop, (after, real), distance, seen.value)
                found.number(named, seen.value, low, high)
                found.number(f"{named}/floor", seen.floor)
                found.number(f"{named}/ceiling", seen.ceiling)
                found.number(f"{named}/gap_closed", seen.gap_closed)
                if subject.first is not None:
                    other = shop.features_of_first(subject.first, by, plane, before)
                    _beyond(shop, (after, real, other), distance, f"{named}/against_first", found)


def _interval(
    shop: Workshop, sets: tuple[Features, Features], distance: Distance, value: float
) -> tuple[float | None, float | None]:
    """Return the interval of a distance around its value, None where the volume is too small for one."""
    if not shop.study.distance.resamples:
        return None, None
    try:
        drawn = interval_over_cubes(*sets, distance, shop.study.distance.resamples, around=value)
    except BadInput:
        return None, None
    return drawn.low, drawn.high


def _beyond(
    shop: Workshop, sets: tuple[Features, Features, Features], distance: Distance, name: str, found: Findings
) -> None:
    """Keep by how much the distance exceeds that of the first strategy's volume, cut at the same places."""
    if not shop.study.distance.resamples:
        return
    try:
        drawn = interval_over_cubes(*sets[:2], distance, shop.study.distance.resamples, minus=sets[2])
    except BadInput:
        return
    found.number(name, drawn.value, drawn.low, drawn.high)


def measure_fidelity(subject: Subject, found: Findings) -> None:
    """Compare with the known truth."""
    if subject.truth is None:
        return
    pair = open_volume(subject.volume), open_volume(subject.truth)
    for name, value in to_truth(*pair, block=subject.block).items():
        found.blockwise(f"fidelity/{name}", value)


def measure_structure(subject: Subject, found: Findings) -> None:
    """Compare with the source, in ways that do not mind another look."""
    pair = open_volume(subject.source), open_volume(subject.volume)
    for name, value in to_source(*pair, block=subject.block).items():
        if name == "nmi":
            found.number(f"structure/{name}", value.value)
        else:
            found.blockwise(f"structure/{name}", value)


def measure_cycle(shop: Workshop, subject: Subject, found: Findings) -> None:
    """Send the volume back without seams, as stored and rounded to 256 levels with noise; compare with the source.

    A volume that is stored in 8 bits has nothing left to hide: what `cycle/hidden` says of it is what the noise costs.
    """
    assert subject.model is not None, subject
    way = "backward" if subject.model.direction == "forward" else "forward"
    bundle = find_bundle(subject.model.path, f"epoch-{subject.trial.checkpoint:04d}")
    how = shop.study.settings({"strategy": "exact", "direction": way, "dtype": "float32"})
    coarse, back, plain = paths = [
        subject.volume.with_name(f".{subject.volume.stem}.{word}.zarr") for word in ("coarse", "back", "plain")
    ]
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    stored, levels = open_volume(subject.volume), shop.span(subject.trial.target)

    def read(box: Box) -> np.ndarray:
        return quantised(stored.read(box), levels, seed=box.start)

    write_part(coarse, replace(origin_of(stored), dtype=np.dtype(np.float32), read=read), Box.of(stored.spatial))
    predict(bundle, coarse, back, how)
    predict(bundle, subject.volume, plain, how)
    volumes = [open_volume(path) for path in (subject.source, back, plain)]
    for name, value in cycle_error(*volumes, block=subject.block).items():
        found.blockwise(f"cycle/{name}", value)
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
