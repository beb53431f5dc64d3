"""What trials need and share, made when first asked for: trainings, baselines, thresholds, encoders, features.

Everything lies in the study's folder and is found again by the next start; a making that failed is not tried again
before that. Trainings continue where they were killed.
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
from vol2vol.evaluation.distance import Ruler, ruler
from vol2vol.files import parse_json, read_text, write_text
from vol2vol.metrics.distances.cut_patches import Axis, Cutting
from vol2vol.metrics.distances.encoder import Lesson, train_encoder
from vol2vol.metrics.distances.encoder_file import load_encoder, save_encoder
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.features import extract
from vol2vol.metrics.distances.inception_weights import load_inception
from vol2vol.metrics.measures.segmentation import BINS
from vol2vol.metrics.objects.overlap import curve
from vol2vol.metrics.similarity.volume_pairs import blocks_of, extremes
from vol2vol.models.checkpoints import find_bundle
from vol2vol.prediction import predict
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
"""What a trial may fail of; the other trials go on."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model and how it is applied."""

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
    """Share of the mask in its own domain, where the threshold was chosen."""
    predict: dict[str, Any]


@dataclass(frozen=True)
class Assets:
    """Makes what trials need in the folder of a study."""

    study: Study
    folder: Path
    _made: dict[Any, Any] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        """The volumes of the domains."""
        return Parts(self.study, self.folder)

    def _once(self, what: Any, make: Callable[[], Any]) -> Any:
        """Return what was made before, or make it; a failure is remembered and raised again."""
        if what not in self._made:
            try:
                self._made[what] = make()
            except FAILURES as error:
                self._made[what] = error
        if isinstance(self._made[what], Exception):
            raise self._made[what]
        return self._made[what]

    def turned(self, source: str, target: str) -> bool:
        """Say whether a pair comes after its reverse, with which it shares what is trained in both directions."""
        pairs = list(self.study.pairs)
        return (target, source) in pairs and pairs.index((target, source)) < pairs.index((source, target))

    def translator(self, name: str, seed: int, pair: tuple[str, str]) -> Model:
        """Return the finished run of a translator."""
        about = self.study.translators[name]
        recipe = about.resolved(seed)
        ways = direction(recipe), direction(recipe, "target", "source")
        turned = about.both_ways and self.turned(*pair)
        first, second = pair[::-1] if turned else pair
        out = self.folder / "runs" / f"{first}-{second}" / f"{name}-seed{seed}"

        def make() -> Path:
            changes = [*about.overrides, f"train.seed={seed}", *self._preserving(about.preserves, second)]
            log.info("training %s, seed %d, between %s and %s", name, seed, first, second)
            apart = not learns_pairs(recipe)
            volumes = (
                [self.parts.translator_images(one) for one in (first, second)]
                if apart
                else self.parts.translator_pairs(first, second)
            )
            train(about.recipe, volumes[0], volumes[1], out, overrides=changes)
            return out

        there, back = ways[::-1] if turned else ways
        assert there is not None, f"{name} makes no target"
        return Model(path=self._once(out, make), direction=there, back=back)

    def _preserving(self, name: str, target: str) -> list[str]:
        """Return the changes to a recipe that make it heed the target's segmenter of this name, if there is a name."""
        if not name:
            return []
        judge = self._judge(name, self.study.segmenters[name].seeds[0], target)
        return [f"task.segmenters.target={json.dumps(str(find_bundle(judge.model, judge.which).absolute()))}"]

    def baseline(self, kind: Any, pair: tuple[str, str]) -> Model:
        """Return a translation without training."""
        turned = self.turned(*pair)
        first, second = pair[::-1] if turned else pair
        out: Path = self.folder / "baselines" / f"{first}-{second}" / kind

        def make() -> Path:
            if out.exists():
                return out
            volumes = [self.parts.translator_images(one) for one in (first, second)]
            return fit_baseline(kind, volumes[0], volumes[1], out)

        ways = ("forward", "backward")
        there, back = ways[::-1] if turned else ways
        return Model(path=self._once(out, make), direction=there, back=back)

    def judges(self, domain: str, *, adapted_to: str | None = None) -> list[Judge]:
        """Return every trained segmenter of a domain, or the same with statistics of another domain (AdaBN)."""
        found = []
        for name, about in self.study.segmenters.items():
            for seed in about.seeds:
                judge = self._judge(name, seed, domain)
                found.append(judge if adapted_to is None else self._adapted(judge, domain, adapted_to))
        return found

    def _judge(self, name: str, seed: int, domain: str) -> Judge:
        about = self.study.segmenters[name]
        out = self.folder / "runs" / domain / f"{name}-seed{seed}"
        how = self.study.settings(about.predict, {"dtype": "uint8"})

        def make() -> Judge:
            image, mask = self.parts.image(domain, "train"), self.parts.mask(domain, "train")
            log.info("training %s, seed %d, on %s", name, seed, domain)
            train(about.recipe, image, mask, out, overrides=about.changes(seed, domain))
            chosen = self._threshold(out, about.which, domain, how)
            return Judge(name=f"{name}/{seed}", model=out, which=about.which, predict=how.model_dump(), **chosen)

        judge: Judge = self._once(out, make)
        return judge

    def _threshold(self, run: Path, which: str, domain: str, how: Any) -> dict[str, float]:
        """Return the threshold of highest IoU on the domain's validation part, chosen once."""
        kept = run / "threshold.json"
        if kept.is_file():
            try:
                return dict(parse_json(read_text(kept)))
            except ValueError:
                raise Unreadable(f"{kept} is damaged: remove it and run the study again") from None
        image, mask = self.parts.image(domain, "validate"), open_volume(self.parts.mask(domain, "validate"))
        probability = self.folder / "segmentations" / "validation" / f"{domain}.{run.name}.zarr"
        probability.parent.mkdir(parents=True, exist_ok=True)
        predict(run, image, probability, how, which=which)
        counted = curve(open_volume(probability), mask, bins=BINS)
        share = counted.foreground / int(counted.counts.sum())
        chosen = {"threshold": counted.best_threshold(), "foreground": share}
        write_text(kept, json.dumps(chosen))
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
        """Raise `BadInput` where the mask of a domain's test part is empty."""

        def count() -> int:
            mask = open_volume(self.parts.mask(domain, "test"))
            return sum(int(foreground(mask.read(box), mask.path).sum()) for box in blocks_of(mask))

        if not self._once(("foreground", domain), count):
            raise BadInput(f"domains.{domain}.parts.test holds no foreground: choose a part with some")

    def check_weights(self) -> None:
        """Raise `NotFound` where the Inception weights are wanted and missing, before anything is done."""
        if "inception" in self.study.distance.features and "features" in self.study.needs:
            self._once("inception", partial(load_inception, self.study.distance.weights or None))

    def rulers(self, domain: str) -> list[Ruler]:
        """Return the feature networks that see a target domain."""
        return [self._once((name, domain), partial(self._ruler, name, domain)) for name in self.study.distance.features]

    def _ruler(self, features: str, domain: str) -> Ruler:
        target = open_volume(self.parts.image(domain, "train"))
        about = self.study.distance
        if features == "inception":
            return ruler("inception", target, weights=about.weights or None)
        kept = self.folder / "runs" / domain / "encoder"
        if not kept.exists():
            log.info("training an encoder on %s", domain)
            lesson = Lesson(planes=about.planes, steps=about.steps, crop=min(64, about.size))
            save_encoder(kept, train_encoder(target, lesson))
        trained = load_encoder(kept)
        return Ruler(name="encoder", network=trained.network, grey=trained.grey)

    def span(self, domain: str) -> tuple[float, float]:
        """Return the smallest and the largest grey value of a domain's training part."""
        found: tuple[float, float] = self._once(
            ("span", domain), lambda: extremes(open_volume(self.parts.image(domain, "train")))
        )
        return found

    def features(self, path: Path, by: Ruler, axis: Axis, *, times: int = 1, like: Features | None = None) -> Features:
        """Return what a ruler sees in a volume, remembered: for those that many trials are compared with."""
        seen: Features = self._once((path, by, axis, times), lambda: self.seen(path, by, axis, times=times, like=like))
        return seen

    def features_of_first(self, path: Path, by: Ruler, axis: Axis, like: Features) -> Features:
        """Return what a ruler sees in the first of several strategies' volumes, remembered until another one's turn."""
        kept = self._made.get(("first", by, axis))
        if kept is None or kept[0] != path:
            kept = self._made["first", by, axis] = path, self.seen(path, by, axis, like=like)
        seen: Features = kept[1]
        return seen

    def seen(self, path: Path, by: Ruler, axis: Axis, *, times: int = 1, like: Features | None = None) -> Features:
        """Return what a ruler sees in a volume, at the places of another one where `like` is given."""
        about = self.study.distance
        cutting = Cutting(count=times * about.patches, size=about.size, axis=axis)
        places = None if like is None else like.places
        return extract(open_volume(path), by.network, by.grey, cutting, name=by.name, places=places)


def check_masks(study: Study, parts: Parts) -> None:
    """Raise `BadInput` unless every domain that is segmented or judged has a mask."""
    if not study.segmenters:
        return
    for name in dict.fromkeys(name for pair in study.pairs for name in pair):
        if not parts.has_mask(name):
            raise BadInput(f"domains.{name} has no mask, but the study has segmenters: give one, or segmenters: {{}}")
