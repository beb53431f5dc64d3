"""Make what the trials of a study share, on first use: trainings, baselines, thresholds, encoders and features.

Everything is stored in the study's folder and used again by the next start. What failed is not tried again before
the next start. Trainings continue where they were killed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput, Unreadable, UserError
from vol2vol.evaluation.distance import FeatureSpace, feature_space
from vol2vol.files import parse_json, read_text, write_text
from vol2vol.metrics.distances.cut_patches import Axis, Cutting
from vol2vol.metrics.distances.encoder import EncoderSettings, train_encoder
from vol2vol.metrics.distances.encoder_file import load_encoder, save_encoder
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.features import extract
from vol2vol.metrics.distances.inception_weights import load_inception
from vol2vol.metrics.measures.segmentation import BINS
from vol2vol.metrics.objects.overlap import curve
from vol2vol.metrics.similarity.volume_pairs import blocks_of, extremes
from vol2vol.models.checkpoints import find_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.recipes.adapt import adapt_statistics
from vol2vol.recipes.baselines import fit_baseline
from vol2vol.recipes.training import train
from vol2vol.study.directions import direction, learns_pairs
from vol2vol.study.domain_files import Parts
from vol2vol.study.settings import Study
from vol2vol.volumes import open_volume
from vol2vol.volumes.masks import foreground

log = logging.getLogger(__name__)
FAILURES = (
    *(UserError, OSError, RuntimeError, MemoryError, ValueError, TypeError),
    *(ArithmeticError, LookupError, AssertionError),
)
"""Exceptions that fail one trial; the other trials continue."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model and the names of its translations."""

    path: Path
    direction: str = "forward"
    back: str | None = "backward"
    """The translation in the other direction; None where the model has none."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A trained segmenter with the threshold that was chosen on its own domain."""

    name: str
    """`segmenter/seed`."""
    model: Path
    which: str
    threshold: float
    foreground: float
    """Fraction of foreground voxels in the mask of its own domain, where the threshold was chosen."""
    predict: dict[str, Any]


@dataclass(frozen=True)
class Assets:
    """Makes what trials share, in the folder of a study."""

    study: Study
    folder: Path
    _cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        """The volumes of the domains."""
        return Parts(self.study, self.folder)

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return the cached value of a key, or make it; a failure is cached and raised again."""
        if key not in self._cache:
            try:
                self._cache[key] = make()
            except FAILURES as error:
                self._cache[key] = error
        if isinstance(self._cache[key], Exception):
            raise self._cache[key]
        return self._cache[key]

    def turned(self, source: str, target: str) -> bool:
        """Return whether the reverse of a pair comes first in the study: both share trainings with two directions."""
        pairs = list(self.study.pairs)
        return (target, source) in pairs and pairs.index((target, source)) < pairs.index((source, target))

    def translator(self, name: str, seed: int, pair: tuple[str, str]) -> Model:
        """Return the finished run of a translator."""
        translator = self.study.translators[name]
        recipe = translator.resolved(seed)
        directions = direction(recipe), direction(recipe, "target", "source")
        turned = translator.both_ways and self.turned(*pair)
        first, second = pair[::-1] if turned else pair
        out = self.folder / "runs" / f"{first}-{second}" / f"{name}-seed{seed}"

        def make() -> Path:
            changes = [*translator.overrides, f"train.seed={seed}", *self._preserving(translator.preserves, second)]
            log.info("training %s, seed %d, between %s and %s", name, seed, first, second)
            if learns_pairs(recipe):
                images, targets = self.parts.translator_pairs(first, second)
            else:
                images, targets = (self.parts.translator_images(domain) for domain in (first, second))
            train(translator.recipe, images, targets, out, overrides=changes)
            return out

        forward, back = directions[::-1] if turned else directions
        assert forward is not None, f"{name} has no translation to the target"
        return Model(path=self._once(out, make), direction=forward, back=back)

    def _preserving(self, name: str, target: str) -> list[str]:
        """Return the overrides that preserve what the target's segmenter of this name sees; [] without a name."""
        if not name:
            return []
        judge = self._judge(name, self.study.segmenters[name].seeds[0], target)
        return [f"task.segmenters.target={json.dumps(str(find_bundle(judge.model, judge.which).absolute()))}"]

    def baseline(self, kind: Any, pair: tuple[str, str]) -> Model:
        """Return a fitted baseline, a translation that needs no training."""
        turned = self.turned(*pair)
        first, second = pair[::-1] if turned else pair
        out: Path = self.folder / "baselines" / f"{first}-{second}" / kind

        def make() -> Path:
            if out.exists():
                return out
            volumes = [self.parts.translator_images(domain) for domain in (first, second)]
            return fit_baseline(kind, volumes[0], volumes[1], out)

        forward, back = ("backward", "forward") if turned else ("forward", "backward")
        return Model(path=self._once(out, make), direction=forward, back=back)

    def judges(self, domain: str, *, adapted_to: str | None = None) -> list[Judge]:
        """Return all trained segmenters of a domain, or those with the statistics of another domain (AdaBN)."""
        judges = []
        for name, segmenter in self.study.segmenters.items():
            for seed in segmenter.seeds:
                judge = self._judge(name, seed, domain)
                judges.append(judge if adapted_to is None else self._adapted(judge, domain, adapted_to))
        return judges

    def _judge(self, name: str, seed: int, domain: str) -> Judge:
        segmenter = self.study.segmenters[name]
        out = self.folder / "runs" / domain / f"{name}-seed{seed}"
        settings = self.study.settings(segmenter.predict, {"dtype": "uint8"})

        def make() -> Judge:
            image, mask = self.parts.image(domain, "train"), self.parts.mask(domain, "train")
            log.info("training %s, seed %d, on %s", name, seed, domain)
            train(segmenter.recipe, image, mask, out, overrides=segmenter.changes(seed, domain))
            chosen = self._threshold(out, segmenter.which, domain, settings)
            predict_settings = settings.model_dump()
            return Judge(name=f"{name}/{seed}", model=out, which=segmenter.which, predict=predict_settings, **chosen)

        judge: Judge = self._once(out, make)
        return judge

    def _threshold(self, run: Path, which: str, domain: str, settings: PredictSettings) -> dict[str, float]:
        """Return the threshold with the highest IoU on the domain's validation part; it is chosen once and stored."""
        path = run / "threshold.json"
        if path.is_file():
            try:
                return dict(parse_json(read_text(path)))
            except ValueError:
                raise Unreadable(f"{path} is damaged: remove it and run the study again") from None
        image, mask = self.parts.image(domain, "validate"), open_volume(self.parts.mask(domain, "validate"))
        probability = self.folder / "segmentations" / "validation" / f"{domain}.{run.name}.zarr"
        probability.parent.mkdir(parents=True, exist_ok=True)
        predict(run, image, probability, settings, which=which)
        overlap = curve(open_volume(probability), mask, bins=BINS)
        share = overlap.foreground / int(overlap.counts.sum())
        chosen = {"threshold": overlap.best_threshold(), "foreground": share}
        write_text(path, json.dumps(chosen))
        return chosen

    def _adapted(self, judge: Judge, domain: str, to: str) -> Judge:
        name = judge.name.replace("/", "-seed")
        out = self.folder / "runs" / domain / f"{name}-adapted-to-{to}"

        def make() -> Path:
            if out.exists():
                return out
            volumes = [self.parts.image(to, "train"), *self.parts.more(to)]
            return adapt_statistics(judge.model, volumes, out, which=judge.which)

        return replace(judge, model=self._once(out, make), which="last")

    def check_foreground(self, domain: str) -> None:
        """Raise `BadInput` if the mask of a domain's test part is empty."""

        def count() -> int:
            mask = open_volume(self.parts.mask(domain, "test"))
            return sum(int(foreground(mask.read(box), mask.path).sum()) for box in blocks_of(mask))

        if not self._once(("foreground", domain), count):
            raise BadInput(f"domains.{domain}.parts.test has an empty mask: choose a part with foreground")

    def check_weights(self) -> None:
        """Raise `NotFound`, before anything is done, if a measure needs the Inception weights and they are missing."""
        if "inception" in self.study.distance.features and "features" in self.study.needs:
            self._once("inception", partial(load_inception, self.study.distance.weights or None))

    def feature_spaces(self, domain: str) -> list[FeatureSpace]:
        """Return the feature networks for a target domain."""
        return [
            self._once((name, domain), partial(self._feature_space, name, domain))
            for name in self.study.distance.features
        ]

    def _feature_space(self, features: str, domain: str) -> FeatureSpace:
        target = open_volume(self.parts.image(domain, "train"))
        distance = self.study.distance
        if features == "inception":
            return feature_space("inception", target, weights=distance.weights or None)
        path = self.folder / "runs" / domain / "encoder"
        if not path.exists():
            log.info("training an encoder on %s", domain)
            settings = EncoderSettings(planes=distance.planes, steps=distance.steps, crop=min(64, distance.size))
            save_encoder(path, train_encoder(target, settings))
        trained = load_encoder(path)
        return FeatureSpace(name="encoder", network=trained.network, grey=trained.grey)

    def span(self, domain: str) -> tuple[float, float]:
        """Return the smallest and the largest grey value of a domain's training part."""
        limits: tuple[float, float] = self._once(
            ("span", domain), lambda: extremes(open_volume(self.parts.image(domain, "train")))
        )
        return limits

    def features(
        self, path: Path, by: FeatureSpace, axis: Axis, *, times: int = 1, like: Features | None = None
    ) -> Features:
        """Return the features of a volume, cached: for volumes that many trials are compared with."""
        cached: Features = self._once(
            (path, by, axis, times), lambda: self.extracted(path, by, axis, times=times, like=like)
        )
        return cached

    def features_of_first(self, path: Path, by: FeatureSpace, axis: Axis, like: Features) -> Features:
        """Return the features of the reference strategy's volume, cached until another volume is asked for."""
        cached = self._cache.get(("first", by, axis))
        if cached is None or cached[0] != path:
            cached = self._cache["first", by, axis] = path, self.extracted(path, by, axis, like=like)
        features: Features = cached[1]
        return features

    def extracted(
        self, path: Path, by: FeatureSpace, axis: Axis, *, times: int = 1, like: Features | None = None
    ) -> Features:
        """Return the features of patches of a volume, at the places of the patches of `like` where it is given."""
        distance = self.study.distance
        cutting = Cutting(count=times * distance.patches, size=distance.size, axis=axis)
        places = None if like is None else like.places
        return extract(open_volume(path), by.network, by.grey, cutting, name=by.name, places=places)


def check_masks(study: Study, parts: Parts) -> None:
    """Raise `BadInput` unless every domain that is segmented or judged has a mask."""
    if not study.segmenters:
        return
    for name in dict.fromkeys(name for pair in study.pairs for name in pair):
        if not parts.has_mask(name):
            raise BadInput(f"domains.{name} has no mask, but the study has segmenters: give one, or segmenters: {{}}")
