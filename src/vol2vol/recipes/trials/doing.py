"""Do one trial: translate, let segmenters look at it, measure, and return its row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.devices import find_device, trim
from vol2vol.prediction.finishing import finished
from vol2vol.recipes.trials import measuring, segmenting
from vol2vol.recipes.trials.costing import prediction_cost, training_cost
from vol2vol.recipes.trials.findings import Findings, blocks_for
from vol2vol.recipes.trials.making import Judge, Model, Workshop
from vol2vol.recipes.trials.measuring import Subject
from vol2vol.recipes.trials.trials import (
    COMPARED,
    IN_DOMAIN,
    JUDGES,
    MEASURED,
    PICKED,
    SEGMENTED,
    Trial,
    judges_of,
    left,
    measured,
)
from vol2vol.study.rows import Row
from vol2vol.training.memory import peak_memory
from vol2vol.volumes import open_volume

AGAINST_FIRST = {"distance", "near_seam"}
"""Measures that also say how a volume differs from that of the first strategy."""
UNTRANSLATED = (IN_DOMAIN, "identity", "adabn")
"""Translators that leave the source as it is."""


def do(
    shop: Workshop, trial: Trial, before: Row | None, sums: dict[str, np.ndarray]
) -> tuple[Row, dict[str, np.ndarray]]:
    """Return the finished row of a trial and its sums per block; `before` is what an earlier look found.

    What was measured before is kept. Raises whatever makes the trial fail.
    """
    found = Findings.of(before, sums)
    had = measured(before)
    wanted = left(shop.study, before, trial)
    subject = _translated(shop, trial, found)
    _measure_volume(shop, subject, wanted, found)
    if SEGMENTED & set(wanted):
        _measure_segmentations(shop, subject, wanted, found)
    told = dict.fromkeys([*sorted(had), *trial.measures])
    if subject.first is None and _has_first(shop, trial):  # it failed; the next start may compare with it
        told = {measure: None for measure in told if measure not in AGAINST_FIRST}
    found.notes[MEASURED] = " ".join(told)
    if trial.picked:
        found.notes[PICKED] = trial.picked
    run = "" if trial.kind != "network" or subject.model is None else _relative(subject.model.path, shop.folder)
    row = replace(
        trial.row(),
        volume=_relative(subject.volume, shop.folder),
        run=run,
        segmentations=found.segmentations,
        values=found.values,
        notes=found.notes,
    )
    return row, found.sums


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _translated(shop: Workshop, trial: Trial, found: Findings) -> Subject:
    """Translate the source's test part and return it with all that it is compared with."""
    source = shop.parts.image(trial.source, "test")
    volume, model, settings = source, _model(shop, trial), None
    if model is not None:
        volume = shop.folder / "volumes" / f"{trial.name}.zarr"
        volume.parent.mkdir(exist_ok=True)
        settings, which = _how(shop, trial, model)
        trim()
        with peak_memory(find_device(settings.device), beyond=True) as peak:
            made = predict(model.path, source, volume, settings, which=which)
        prediction_cost(model, which, settings, made, peak(), found=found)
        if trial.kind == "network":
            training_cost(model, trial.checkpoint or 0, found)
    return Subject(
        trial=trial,
        volume=volume,
        source=source,
        truth=shop.parts.truth(trial.source, trial.target),
        block=blocks_for(open_volume(source).spatial, shop.study.judging.blocks),
        first=_first(shop, trial),
        model=model,
        settings=settings,
    )


def _how(shop: Workshop, trial: Trial, model: Model) -> tuple[PredictSettings, str]:
    """Return how a trial's volume is predicted, and by which of the saved models."""
    if trial.kind != "network":
        return shop.study.settings({"direction": model.direction}), "last"
    chosen = shop.study.translators[trial.translator].strategies[trial.strategy]  # type: ignore[index]
    changes = {"direction": model.direction, "strategy": trial.strategy, "assembly": trial.assembly, **chosen}
    return shop.study.settings(changes), f"epoch-{trial.checkpoint:04d}"


def _model(shop: Workshop, trial: Trial) -> Model | None:
    if trial.kind == "network":
        assert trial.seed is not None, trial
        return shop.translator(trial.translator, trial.seed, trial.pair)
    return None if trial.translator in UNTRANSLATED else shop.baseline(trial.translator, trial.pair)


def _first(shop: Workshop, trial: Trial) -> Path | None:
    """Return the whole volume of the first strategy that this one is compared with."""
    if not _has_first(shop, trial):
        return None
    first = shop.study.translators[trial.translator].reference
    path = shop.folder / "volumes" / f"{replace(trial, strategy=first).name}.zarr"
    return path if finished(str(path)) else None


def _has_first(shop: Workshop, trial: Trial) -> bool:
    return trial.kind == "network" and shop.study.translators[trial.translator].reference != trial.strategy


def _measure_volume(shop: Workshop, subject: Subject, wanted: Sequence[str], found: Findings) -> None:
    rulers = shop.rulers(subject.trial.target) if "distance" in wanted else []
    takers = {
        "seams": lambda: measuring.measure_seams(subject, found),
        "mismatch": lambda: measuring.measure_mismatch_of(subject, found),
        "distance": lambda: measuring.measure_distances(shop, subject, rulers, found),
        "fidelity": lambda: measuring.measure_fidelity(subject, found),
        "structure": lambda: measuring.measure_structure(subject, found),
        "cycle": lambda: measuring.measure_cycle(shop, subject, found),
    }
    for name, take in takers.items():
        if name in wanted:
            with found.unless_impossible(name):
                take()


def _measure_segmentations(shop: Workshop, subject: Subject, wanted: Sequence[str], found: Findings) -> None:
    if not shop.study.segmenters:
        return
    shop.check_foreground(subject.trial.source)
    judges = _judges(shop, subject.trial)
    asked = judges[: len(judges_of(shop.study, wanted))]
    segmenting.segment(shop, subject, asked, found)
    if COMPARED & set(wanted):
        found.notes[JUDGES] = " ".join(judge.name for judge in asked)
    takers = {
        "label_free": segmenting.judge_without_labels,
        "segmentation": segmenting.judge_overlap,
        "objects": segmenting.judge_objects,
        "near_seam": segmenting.judge_near_seams,
    }
    for name, take in takers.items():
        if name in wanted:
            with found.unless_impossible(name):
                take(shop, subject, asked, found)


def _judges(shop: Workshop, trial: Trial) -> list[Judge]:
    if trial.translator == IN_DOMAIN:
        return shop.judges(trial.source)
    return shop.judges(trial.target, adapted_to=trial.source if trial.translator == "adabn" else None)
