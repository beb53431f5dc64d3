"""Provide what measures need to know about a trial's volume, each item on first use."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.evaluation.certificate import Certificate, certify
from vol2vol.evaluation.distance import FeatureSpace
from vol2vol.evaluation.seams import grids_of
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.measures import Segmentation, Subject
from vol2vol.metrics.measures.subject import Change, Need
from vol2vol.models.checkpoints import find_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.finishing import finished
from vol2vol.study.assets import Assets, Judge
from vol2vol.study.costing import Spent, prediction_cost, training_cost
from vol2vol.study.origins import origin_of, write_part
from vol2vol.study.shifting import disagreement
from vol2vol.study.translating import Predicted, TrialVolume, first_of
from vol2vol.study.trials import IN_DOMAIN, Trial, judges_of
from vol2vol.volumes import Volume, open_volume


def subject_of(assets: Assets, translated: TrialVolume, asked: Iterable[str]) -> Subject:
    """Return the subject of the named measures: a trial's volume and everything that the study can provide for it."""
    trial, parts = translated.trial, assets.parts
    volume, truth = open_volume(translated.volume), parts.truth(trial.source, trial.target)
    provide: dict[Need, Callable[[], Any]] = {
        "source": partial(open_volume, translated.source),
        "target": lambda: open_volume(parts.image(trial.target, "train")),
        "target_range": partial(assets.span, trial.target),
        "features": lambda: _Sets(assets, translated, assets.feature_spaces(trial.target)),
    }
    if truth is not None:
        provide["truth"] = partial(open_volume, truth)
    if parts.has_mask(trial.source):
        provide["mask"] = lambda: open_volume(parts.mask(trial.source, "test"))
    if assets.study.segmenters:
        provide["segmentations"] = lambda: _segmentations(assets, translated, asked)
    if translated.predicted is not None:
        provide["spent"] = partial(_spent, trial, translated.predicted)
    if trial.kind == "network" and translated.predicted is not None:
        provide |= {
            "grids": partial(grids_of, volume),
            "network": partial(_Network, assets, translated, translated.predicted),
        }
    block = blocks_for(volume.spatial, assets.study.judging.blocks)
    return Subject(volume=volume, block=block, judging=assets.study.judging, provide=provide)


def blocks_for(spatial: Shape, count: int) -> Shape:
    """Return the shape `(Z, Y, X)` of the largest blocks that give at least `count`, by halving the longest axis."""
    block = list(spatial)
    while np.prod([-(-n // b) for n, b in zip(spatial, block, strict=True)]) < count and max(block) > 1:
        axis = int(np.argmax(block))
        block[axis] = -(-block[axis] // 2)
    return tuple(block)


def probabilities(folder: Path, trial: Trial, judge: str) -> Path:
    """Return the path of the probabilities that a segmenter predicted from a trial's volume."""
    return folder / "segmentations" / trial.name / f"{judge.replace('/', '-seed')}.zarr"


def _spent(trial: Trial, predicted: Predicted) -> Spent:
    training = training_cost(predicted.model, trial.checkpoint or 0) if trial.kind == "network" else {}
    return prediction_cost(predicted) | training


def _segmentations(assets: Assets, translated: TrialVolume, asked: Iterable[str]) -> list[Segmentation]:
    """Predict the probabilities of all segmenters that the named measures need; finished predictions are kept."""
    trial, first = translated.trial, first_of(assets, translated.trial)
    assets.check_foreground(trial.source)
    segmentations = []
    for judge in _judges(assets, trial)[: len(judges_of(assets.study, asked))]:
        path = probabilities(assets.folder, trial, judge.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        predict(judge.model, translated.volume, path, PredictSettings(**judge.predict), which=judge.which)
        other = None if first is None or translated.first is None else probabilities(assets.folder, first, judge.name)
        segmentations.append(
            Segmentation(
                name=judge.name,
                probability=open_volume(path),
                threshold=judge.threshold,
                foreground=judge.foreground,
                first=open_volume(other) if other is not None and finished(str(other)) else None,
            )
        )
    return segmentations


def _judges(assets: Assets, trial: Trial) -> list[Judge]:
    if trial.translator == IN_DOMAIN:
        return assets.judges(trial.source)
    return assets.judges(trial.target, adapted_to=trial.source if trial.translator == "adabn" else None)


@dataclass(frozen=True)
class _Sets:
    """Features of a trial's volume, its source, its target and the volume of the reference strategy."""

    assets: Assets
    translated: TrialVolume
    feature_spaces: Sequence[FeatureSpace]

    @property
    def networks(self) -> Sequence[str]:
        return [space.name.split()[0] for space in self.feature_spaces]

    @property
    def planes(self) -> Sequence[str]:
        return self.assets.study.distance.planes

    @property
    def resamples(self) -> int:
        return self.assets.study.distance.resamples

    @property
    def has_first(self) -> bool:
        return self.translated.first is not None

    def __call__(self, which: Literal["source", "volume", "target", "first"], network: str, plane: Any) -> Features:
        space, translated = self.feature_spaces[self.networks.index(network)], self.translated
        if which == "target":
            return self.assets.features(
                self.assets.parts.image(translated.trial.target, "train"), space, plane, times=2
            )
        source = self.assets.features(translated.source, space, plane)
        if which == "first":
            assert translated.first is not None, translated
            return self.assets.features_of_first(translated.first, space, plane, source)
        same = which == "source" or translated.volume == translated.source
        return source if same else self.assets.extracted(translated.volume, space, plane, like=source)


@dataclass(frozen=True)
class _Network:
    """The network that predicted a trial's volume."""

    assets: Assets
    translated: TrialVolume
    predicted: Predicted

    def agreement(self) -> Certificate:
        model = self.predicted.model
        return certify(
            model.path, open_volume(self.translated.source), direction=model.direction, which=self.predicted.which
        )

    def moved(self) -> tuple[float, float]:
        predicted = self.predicted
        return disagreement(
            self.translated.volume, self.translated.source, predicted.model.path, predicted.which, predicted.settings
        )

    @contextmanager
    def returned(self, change: Change | None = None) -> Iterator[Volume]:
        if (direction := self.predicted.model.back) is None:
            raise BadInput("the model has no translation back to the source")
        settings = self.assets.study.settings({"strategy": "exact", "direction": direction, "dtype": "float32"})
        stored, words = self.translated.volume, ("plain", "plain-back") if change is None else ("coarse", "back")
        start, back = paths = [stored.with_name(f".{stored.stem}.{word}.zarr") for word in words]
        try:
            for path in paths:
                shutil.rmtree(path, ignore_errors=True)
            if change is not None:
                _write_changed(start, open_volume(stored), change)
            bundle = find_bundle(self.predicted.model.path, self.predicted.which)
            predict(bundle, stored if change is None else start, back, settings)
            yield open_volume(back)
        finally:
            for path in paths:
                shutil.rmtree(path, ignore_errors=True)


def _write_changed(path: Path, volume: Volume, change: Change) -> None:
    """Write a volume with its voxels changed, as float32."""

    def read(box: Box) -> np.ndarray:
        return change(box, volume.read(box))

    write_part(path, replace(origin_of(volume), dtype=np.dtype(np.float32), read=read), Box.of(volume.spatial))
