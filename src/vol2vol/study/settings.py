"""The schema of a study: domains, translators, segmenters, conditions and measures, all of them data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator, model_validator

from vol2vol.errors import BadInput
from vol2vol.metrics.measures import MEASURES
from vol2vol.metrics.measures.catalogue import OWN
from vol2vol.metrics.measures.settings import Judging, Settings
from vol2vol.phantoms import DOMAINS
from vol2vol.plans import Strategy
from vol2vol.prediction.settings import PredictSettings
from vol2vol.preparation import Step
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.recipes.yamlfiles import explain
from vol2vol.report.rows.conditions import reference
from vol2vol.study.directions import direction
from vol2vol.study.measure_settings import Distance, Pick

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Becomes part of file names."""
Baseline = Literal["identity", "meanstd", "histogram", "spectrum", "adabn"]
PartName = Literal["train", "translator_train", "validate", "test"]
CHEAP = tuple(one.name for one in OWN if one.cheap)
ALL = tuple(one.name for one in OWN)


def _known(name: str) -> str:
    """Return the name of a measure; raises where there is none of this name, or its package is broken."""
    if name not in MEASURES:
        known = ", ".join(MEASURES)
        raise ValueError(f"measure {name!r} is unknown: use some of {known}, or install the package that offers it")
    MEASURES[name]
    return name


MeasureName = Annotated[str, AfterValidator(_known)]


class Phantom(Settings):
    """Made-up tissue, whose truth in every look is known."""

    look: str = "rat"
    """How it is seen: rat or human."""
    seed: int = 0
    """Which tissue; different seeds have nothing in common."""
    shape: tuple[int, int, int] = (64, 192, 192)
    """Voxels Z, Y, X."""

    @model_validator(mode="after")
    def _known(self) -> Phantom:
        if self.look not in DOMAINS:
            raise ValueError(f"look {self.look!r} is unknown: use one of {', '.join(DOMAINS)}")
        return self


class Degraded(Settings):
    """What is done to an image so that the way back has a known answer: grey = offset + gain * blurred + noise."""

    blur: float = Field(default=0.0, ge=0)
    """Standard deviation of a Gaussian, in voxels."""
    gain: float = Field(default=1.0, gt=0)
    offset: float = 0.0
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation, in grey levels."""


class Part(Settings):
    """A part of a domain in files of its own, or a region of the domain's."""

    box: str = ""
    """z0:z1,y0:y1,x0:x1 in voxels; bounds and trailing axes may be left out."""
    image: str = ""
    mask: str = ""
    """Paths, where they are not the domain's."""


class Domain(Settings):
    """Volumes of one look; paths are relative to the folder `data` of the study."""

    image: str = ""
    """Path or address (s3://, http://) of the image. Or else `phantom`."""
    mask: str = ""
    """Path of its mask (0 is background); without one, nothing is segmented here."""
    phantom: Phantom | None = None
    """Tissue that is made instead of read, with its mask and its truth in the look of every other phantom."""
    steps: tuple[Step, ...] = ()
    """What is done to images first, as `vol2vol prepare` does it; masks become 0 and 1, are cropped and resampled."""
    degraded: Degraded | None = None
    """What is then done to the image."""
    truths: Mapping[Name, str] = {}
    """Paths of volumes that show the same tissue in the look of another domain, by that domain's name."""
    more: tuple[str, ...] = ()
    """Paths of further images without masks, which translators learn from too."""
    parts: Mapping[PartName, Part] = {}
    """Networks are trained on `train` (translators on `translator_train`, where it is given), thresholds are chosen on
    `validate`, everything is judged on `test`. A bare `z0:z1,y0:y1,x0:x1` is a box; a missing part is the whole."""
    axes: str | None = None
    """Of files that do not say."""
    voxel_size: tuple[float, float, float] | None = None
    """Z, Y, X, of files that do not say."""
    unit: str | None = None
    time: int | None = None
    """Which of several time points, from 0, of files that have them."""

    @field_validator("parts", mode="before")
    @classmethod
    def _bare_boxes(cls, parts: Any) -> Any:
        if not isinstance(parts, dict):
            return parts
        return {name: {"box": part} if isinstance(part, str) else part for name, part in parts.items()}

    def part(self, name: PartName | None) -> Part:
        """Return a part with its files; of None, the whole."""
        own = self.parts.get(name, Part()) if name else Part()
        return Part(box=own.box, image=own.image or self.image, mask=own.mask or ("" if own.image else self.mask))

    @model_validator(mode="after")
    def _one_origin(self) -> Domain:
        if bool(self.image) == (self.phantom is not None):
            raise ValueError("a domain is either an image or a phantom: give one of them")
        return self


class Translator(Settings):
    """A network that is trained for each pair of domains, and how it is applied."""

    recipe: str
    """A shipped recipe or a YAML file, of any task that makes the target from the source. One that learns from pairs is
    given the truth of the part that translators learn from (`truths`, or what phantoms know)."""
    overrides: tuple[str, ...] = ()
    """Changes to it, such as train.epochs=20."""
    preserves: str = ""
    """A segmenter of the study, whose prediction on target patches the round trip through the source must preserve
    (its first seed on the target). The two directions are then trained separately: otherwise each would learn from the
    masks that it is judged by."""
    seeds: tuple[int, ...] = (0,)
    """One training for each."""
    checkpoints: Literal["all", "last"] | tuple[int, ...] = "all"
    """Epochs whose saved models are tried."""
    strategies: Mapping[Strategy, Mapping[str, Any]] = Field(default={"exact": {}}, min_length=1)
    """Each with settings of predict. In `exact`, or else the first, checkpoints are compared; seams count from it."""
    assemblies: tuple[Literal["slices", "ortho", "volume"], ...] = ()
    """By default what the network is: slices for 2D, volume for 3D."""

    def resolved(self, seed: int) -> Recipe:
        """Return the recipe with its changes and a seed."""
        return load_recipe(self.recipe, (*self.overrides, f"train.seed={seed}"))

    @property
    def both_ways(self) -> bool:
        """Whether a pair and its reverse share a training, whose two directions they are."""
        return not self.preserves and direction(self.resolved(0), "target", "source") is not None

    def epochs(self) -> tuple[int, ...]:
        """Return the epochs of the checkpoints that are tried."""
        train = self.resolved(0).train
        saved = [*range(train.checkpoint_every, train.epochs, train.checkpoint_every), train.epochs]
        if isinstance(self.checkpoints, tuple):
            if odd := sorted({*self.checkpoints} - {*saved}):
                raise BadInput(f"checkpoint {odd[0]} is not saved: there are {', '.join(map(str, saved))}")
            return self.checkpoints
        return tuple(saved) if self.checkpoints == "all" else (saved[-1],)

    @property
    def reference(self) -> Strategy:
        """The strategy that the others are compared with: the least seamed."""
        return cast(Strategy, reference(self.strategies))

    def ordered(self) -> tuple[Strategy, ...]:
        """Return the strategies, the reference first."""
        return self.reference, *(one for one in self.strategies if one != self.reference)

    def ways(self) -> tuple[str, ...]:
        """Return the assemblies."""
        return self.assemblies or (("volume",) if self.resolved(0).dims == 3 else ("slices",))


class Segmenter(Settings):
    """A network that is trained on every domain with a mask, and judges what has been given its look."""

    recipe: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    which: str = "best"
    """Checkpoint: best, last or epoch-0005."""
    predict: Mapping[str, Any] = {}
    """Settings of predict, such as tile."""
    domains: Mapping[Name, tuple[str, ...]] = {}
    """Further changes to the recipe, by the domain that is learnt from."""

    def changes(self, seed: int, domain: str) -> tuple[str, ...]:
        """Return all changes to the recipe for a domain, with a seed."""
        return *self.overrides, *self.domains.get(domain, ()), f"train.seed={seed}"

    def resolved(self, seed: int, domain: str = "") -> Recipe:
        """Return the recipe with its changes, for a domain or those of all, and a seed."""
        return load_recipe(self.recipe, self.changes(seed, domain))


class Study(Settings):
    """What is compared, as data."""

    name: str = "custom"
    about: str = ""
    """One line: what the study is for."""
    data: str = ""
    """Folder that the paths of domains are relative to."""
    domains: Mapping[Name, Domain] = Field(min_length=1)
    pairs: tuple[tuple[Name, Name], ...] = Field(min_length=1)
    """Source and target; a pair and its reverse share trainings that have both directions."""
    baselines: tuple[Baseline, ...] = ("identity", "meanstd", "histogram", "spectrum")
    """Translations without training, and adabn: the untranslated source seen by adapted segmenters."""
    in_domain: bool = True
    """Whether the source is also judged by segmenters of its own domain: the upper bound."""
    translators: Mapping[Name, Translator] = {}
    segmenters: Mapping[Name, Segmenter] = {}
    first: tuple[MeasureName, ...] = CHEAP
    """Measured of every checkpoint."""
    measures: tuple[MeasureName, ...] = ALL
    """Measured of picked checkpoints, in every strategy and assembly."""
    picks: tuple[Pick, ...] = ()
    """By default every checkpoint is measured in full."""
    per: Literal["network", "condition"] = "network"
    """Whether checkpoints are picked once per training, in the first strategy and assembly, and then compared in all
    (the same checkpoint everywhere), or in each strategy and assembly by itself (as the stitching paper did)."""
    distance: Distance = Distance()
    judging: Judging = Judging()
    predict: Mapping[str, Any] = {}
    """Settings of all predictions, such as device or memory."""

    @model_validator(mode="after")
    def _complete(self) -> Study:
        for source, target in self.pairs:
            for name in (source, target):
                if name not in self.domains:
                    raise ValueError(f"pair {source}, {target}: there is no domain {name!r}")
            if source == target:
                raise ValueError(f"pair {source}, {target} is one domain: give two")
        for name, masks in (("translators", False), ("segmenters", True)):
            for key, one in getattr(self, name).items():
                recipe = one.resolved(0)
                if recipe.task.learns_masks != masks:
                    raise ValueError(f"{name}.{key}: a recipe of task {recipe.task.name} cannot be one of the {name}")
                if recipe.train.devices > 1:
                    raise ValueError(f"{name}.{key}: a study trains on one device: set train.devices=1")
        for key, segmenter in self.segmenters.items():
            if odd := sorted({*segmenter.domains} - {*self.domains}):
                raise ValueError(f"segmenters.{key}.domains: there is no domain {odd[0]!r}")
        for key, translator in self.translators.items():
            if translator.preserves and translator.preserves not in self.segmenters:
                raise ValueError(f"translators.{key}.preserves: there is no segmenter {translator.preserves!r}")
        for changes in ({}, *(s for one in self.translators.values() for s in one.strategies.values())):
            self.settings(changes)
        return self

    @property
    def asked(self) -> tuple[str, ...]:
        """All that is measured; a first look is taken at networks alone, where checkpoints are picked."""
        return (*self.first, *self.measures) if self.translators and self.picks else self.measures

    @property
    def needs(self) -> frozenset[str]:
        """What its measures need of their subjects."""
        return frozenset(need for name in self.asked for need in MEASURES[name].needs)

    def settings(self, *changes: Mapping[str, Any]) -> PredictSettings:
        """Return how something is predicted: the study's settings with changes."""
        data = {"pyramid": False, "any_intensity": True, **self.predict}
        for change in changes:
            data |= change
        if several := [name for name in ("outputs", "split_outputs") if data.get(name)]:
            raise BadInput(
                f"study {self.name}: predict.{several[0]}: it measures one volume of each trial: leave it out"
            )
        if data.get("executor") == "slurm":
            raise BadInput(f"study {self.name}: it waits for its predictions, use executor local or dask, not slurm")
        try:
            return PredictSettings.model_validate({k: str(v) if k == "tile" else v for k, v in data.items()})
        except ValidationError as error:
            raise BadInput(f"study {self.name}: predict: {explain(error, PredictSettings)}") from None
