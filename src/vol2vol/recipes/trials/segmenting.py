"""What segmenters of the target make of a translated volume: overlap, objects, near seams, and what needs no mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from vol2vol.metrics.instances import shared_objects
from vol2vol.metrics.overlap import SeamOverlap, curve, full_scale, iou, near_seams, probability
from vol2vol.metrics.pairs import blocks_of
from vol2vol.metrics.scores import object_scores
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.finishing import finished
from vol2vol.recipes.seams import seam_planes
from vol2vol.recipes.trials.findings import Findings
from vol2vol.recipes.trials.making import BINS, Judge, Workshop
from vol2vol.recipes.trials.measuring import Subject
from vol2vol.recipes.trials.trials import WITNESSES
from vol2vol.volumes import open_volume

OBJECTS = {
    "f1_50": "f1",
    "f1_75": "f1_75",
    "ap_50": "ap50",
    "ap_75": "ap75",
    "count_error": "count_error",
    "count_ratio": "count_ratio",
    "rand_error": "rand",
}
"""Scores of objects, and what rows call them."""


def segment(shop: Workshop, subject: Subject, judges: Sequence[Judge], found: Findings) -> None:
    """Let segmenters predict their probabilities of the volume; finished ones are not asked again."""
    for judge in judges:
        path = _probabilities(shop.folder, subject.trial.name, judge.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        predict(judge.model, subject.volume, path, PredictSettings(**judge.predict), which=judge.which)
        found.segmentations[judge.name] = str(path.relative_to(shop.folder))


def _probabilities(folder: Path, trial: str, judge: str) -> Path:
    return folder / "segmentations" / trial / f"{judge.replace('/', '-seed')}.zarr"


def judge_overlap(shop: Workshop, subject: Subject, judges: Sequence[Judge], found: Findings) -> None:
    """Compare every segmentation with the source's mask: IoU, Dice, AUPRC."""
    mask = open_volume(shop.parts.mask(subject.trial.source, "test"))
    for judge in judges:
        counted = curve(
            open_volume(shop.folder / found.segmentations[judge.name]), mask, block=subject.block, bins=BINS
        )
        scores = [counted.auprc(), counted.score("iou", judge.threshold), counted.score("dice", judge.threshold)]
        for one in scores:
            found.blockwise(f"segmentation/{judge.name}/{one.name}", one)
        found.number(f"segmentation/{judge.name}/threshold", judge.threshold)
        best = counted.best_threshold()
        found.number(f"segmentation/{judge.name}/iou_at_best", counted.score("iou", best).value)


def judge_objects(shop: Workshop, subject: Subject, judges: Sequence[Judge], found: Findings) -> None:
    """Compare the objects that every segmentation shows with the mask's."""
    mask = open_volume(shop.parts.mask(subject.trial.source, "test"))
    about = shop.study.judging
    parting = about.parting()
    for judge in judges:
        volume = open_volume(shop.folder / found.segmentations[judge.name])
        shared = shared_objects(volume, mask, threshold=judge.threshold, parting=parting, block=subject.block)
        scores = object_scores(shared, mask, least=about.least, block=subject.block)
        for name, called in OBJECTS.items():
            found.blockwise(f"segmentation/{judge.name}/{called}", scores[name])


def judge_near_seams(shop: Workshop, subject: Subject, judges: Sequence[Judge], found: Findings) -> None:
    """Say what overlap loses near this volume's seams, and how much more than the first strategy's at those places."""
    mask = open_volume(shop.parts.mask(subject.trial.source, "test"))
    planes = seam_planes(open_volume(subject.volume))
    about = shop.study.judging
    for judge in judges:

        def near(path: Path, threshold: float = judge.threshold) -> SeamOverlap:
            return near_seams(
                open_volume(path),
                mask,
                planes,
                threshold=threshold,
                width=about.near,
                shifts=about.shifts,
                block=subject.block,
            )

        own = near(shop.folder / found.segmentations[judge.name])
        name = f"segmentation/{judge.name}/near_seam"
        found.blockwise(name, own.effect)
        if subject.first is not None:
            other = _probabilities(shop.folder, _first_trial(shop, subject), judge.name)
            if finished(str(other)):
                apart = own.effect.against(near(other).effect)
                found.number(f"{name}/against_first", apart.value, apart.low, apart.high)


def _first_trial(shop: Workshop, subject: Subject) -> str:
    first = shop.study.translators[subject.trial.translator].reference
    return replace(subject.trial, strategy=first).name


def judge_without_labels(shop: Workshop, subject: Subject, judges: Sequence[Judge], found: Findings) -> None:
    """Keep what can be said of segmentations without a mask.

    `confidence` is the Dice that a segmenter expects of its own mask, 2 sum(p m) / (sum(p) + sum(m)), mean over
    segmenters; `foreground` the share of the mask over that in the segmenter's own domain; `agreement` the IoU of
    two segmenters' masks, mean over pairs.
    """
    some = judges[:WITNESSES]
    volumes = [open_volume(shop.folder / found.segmentations[judge.name]) for judge in some]
    boxes = blocks_of(volumes[0], subject.block)
    scales = [full_scale(volume, boxes) for volume in volumes]
    sums = np.zeros((len(some), 4))
    pairs = list(combinations(range(len(some)), 2))
    shared = np.zeros((len(pairs), 3))
    for box in boxes:
        p = [probability(volume, box, scale) for volume, scale in zip(volumes, scales, strict=True)]
        m = [one >= judge.threshold for one, judge in zip(p, some, strict=True)]
        sums += [[float(a[b].sum()), float(a.sum()), float(b.sum()), b.size] for a, b in zip(p, m, strict=True)]
        for row, (i, j) in zip(shared, pairs, strict=True):
            row += [(m[i] & m[j]).sum(), (m[i] & ~m[j]).sum(), (~m[i] & m[j]).sum()]
    both, soft, hard, count = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        found.number("label_free/confidence", float(np.mean(2 * both / (soft + hard))))
    own = np.array([judge.foreground for judge in some])
    found.number("label_free/foreground", float(np.mean(hard / count / own)))
    if pairs:
        found.number("label_free/agreement", float(np.mean(iou(shared))))
