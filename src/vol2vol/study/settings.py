"""The schema of a study file: domains, translators, segmenters, picks and measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from vol2vol.errors import BadInput
from vol2vol.metrics.measures import MEASURES
from vol2vol.metrics.measures.catalogue import OWN
from vol2vol.metrics.measures.settings import Judging, Settings
from vol2vol.plans import Strategy
from vol2vol.prediction.settings import PredictSettings
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.recipes.yamlfiles import explain
from vol2vol.report.rows.conditions import reference
from vol2vol.study.directions import direction
from vol2vol.study.domain_settings import Domain, Name
from vol2vol.study.measure_settings import Distance, Pick

Baseline = Literal["identity", "meanstd", "histogram", "spectrum", "adabn"]
CHEAP = tuple(measure.name for measure in OWN if measure.cheap)
ALL = tuple(measure.name for measure in OWN if measure.usual)


def _known(name: str) -> str:
    """Return the name of a measure; raise if there is no such measure or its package cannot be imported."""
    if name not in MEASURES:
        known = ", ".join(MEASURES)
        raise ValueError(f"measure {name!r} is unknown: use some of {known}, or install the package that offers it")
    MEASURES[name]
    return name


MeasureName = Annotated[str, AfterValidator(_known)]


class Translator(Settings):
    """A network that is trained for each pair of domains, and the settings of its predictions."""

    recipe: str
    """A shipped recipe or a YAML file, of any task that translates the source to the target. A task that is trained on
    pairs gets the truth of the source's training part (from `truths`, or from the phantom)."""
    overrides: tuple[str, ...] = ()
    """Changes to the recipe, such as train.epochs=20."""
    preserves: str = ""
    """A segmenter of the study, whose prediction on target patches the round trip through the source must preserve
    (its first seed on the target). The two directions are then trained separately: otherwise each would learn from the
    masks that it is judged by."""
    seeds: tuple[int, ...] = (0,)
    """Random seeds; the network is trained once for each."""
    checkpoints: Literal["all", "last"] | tuple[int, ...] = "all"
    """Epochs whose checkpoints are tried."""
    strategies: Mapping[Name, Mapping[str, Any]] = Field(default={"exact": {}}, min_length=1)
    """Each strategy with its settings of predict; under a name of your own, `strategy` among them, so that a strategy
    can be compared with itself in other settings. `exact`, or else the first, is the reference: checkpoints are
    compared in it, and the other strategies are compared with it."""
    assemblies: tuple[Literal["slices", "ortho", "volume"], ...] = ()
    """By default slices for a 2D network, volume for a 3D network."""

    def resolved(self, seed: int) -> Recipe:
        """Return the recipe with its overrides and a seed."""
        return load_recipe(self.recipe, (*self.overrides, f"train.seed={seed}"))

    @property
    def both_ways(self) -> bool:
        """Whether a pair and its reverse share a training that has both directions."""
        return not self.preserves and direction(self.resolved(0), "target", "source") is not None

    def epochs(self) -> tuple[int, ...]:
        """Return the epochs of the checkpoints that are tried; raise `BadInput` if one of them is not saved."""
        train = self.resolved(0).train
        saved = [*range(train.checkpoint_every, train.epochs, train.checkpoint_every), train.epochs]
        if isinstance(self.checkpoints, tuple):
            if unknown := sorted({*self.checkpoints} - {*saved}):
                raise BadInput(f"checkpoint {unknown[0]} is not saved: use some of {', '.join(map(str, saved))}")
            return self.checkpoints
        return tuple(saved) if self.checkpoints == "all" else (saved[-1],)

    @field_validator("strategies")
    @classmethod
    def _are_strategies(cls, strategies: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        known = get_args(Strategy)
        for name, settings in strategies.items():
            if name not in known and "strategy" not in settings:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}: say which it is with `strategy`")
            if name in known and settings.get("strategy", name) != name:
                raise ValueError(f"{name!r} has settings of strategy {settings['strategy']!r}: choose another name")
        return strategies

    @property
    def reference(self) -> str:
        """The strategy that the others are compared with: the one with the fewest seams."""
        return reference(self.strategies)

    def settings(self, strategy: str) -> dict[str, Any]:
        """Return the settings of predict of a strategy by its name, the strategy itself among them."""
        return {"strategy": strategy, **self.strategies[strategy]}

    def ordered(self) -> tuple[str, ...]:
        """Return the strategies, the reference first."""
        return self.reference, *(strategy for strategy in self.strategies if strategy != self.reference)

    def ways(self) -> tuple[str, ...]:
        """Return the assemblies, the default one if none is named."""
        return self.assemblies or (("volume",) if self.resolved(0).dims == 3 else ("slices",))


class Segmenter(Settings):
    """A network that is trained on every domain with a mask, and segments volumes translated to that domain."""

    recipe: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    which: str = "best"
    """Checkpoint: best, last or an epoch such as epoch-0005."""
    predict: Mapping[str, Any] = {}
    """Settings of predict, such as tile."""
    domains: Mapping[Name, tuple[str, ...]] = {}
    """Further changes to the recipe, by the domain that it is trained on."""

    def changes(self, seed: int, domain: str) -> tuple[str, ...]:
        """Return all overrides of the recipe for a domain, with a seed."""
        return *self.overrides, *self.domains.get(domain, ()), f"train.seed={seed}"

    def resolved(self, seed: int, domain: str = "") -> Recipe:
        """Return the recipe with its overrides and a seed; without a domain, only the overrides for all domains."""
        return load_recipe(self.recipe, self.changes(seed, domain))


class Study(Settings):
    """A study: what is trained, translated, measured and compared."""

    name: str = "custom"
    about: str = ""
    """Purpose of the study, in one line."""
    data: str = ""
    """Folder that the paths of domains are relative to."""
    domains: Mapping[Name, Domain] = Field(min_length=1)
    pairs: tuple[tuple[Name, Name], ...] = Field(min_length=1)
    """Source and target of each pair; a pair and its reverse share trainings that have both directions."""
    baselines: tuple[Baseline, ...] = ("identity", "meanstd", "histogram", "spectrum")
    """Translations without training, and adabn: the untranslated source, segmented with adapted statistics."""
    in_domain: bool = True
    """Whether segmenters of the source's own domain segment it too: the upper bound."""
    translators: Mapping[Name, Translator] = {}
    segmenters: Mapping[Name, Segmenter] = {}
    first: tuple[MeasureName, ...] = CHEAP
    """Measures of every checkpoint, in the first round."""
    measures: tuple[MeasureName, ...] = ALL
    """Measures of picked checkpoints, in every strategy and assembly."""
    picks: tuple[Pick, ...] = ()
    """How checkpoints are picked; without picks, every checkpoint gets all measures."""
    per: Literal["network", "condition"] = "network"
    """Whether checkpoints are picked once per training, in the first strategy and assembly, and the same checkpoints
    are then compared in all, or picked in each strategy and assembly separately (as the stitching paper did)."""
    distance: Distance = Distance()
    judging: Judging = Judging()
    predict: Mapping[str, Any] = {}
    """Settings of predict for all predictions, such as device or memory."""

    @model_validator(mode="after")
    def _complete(self) -> Study:
        for source, target in self.pairs:
            for name in (source, target):
                if name not in self.domains:
                    raise ValueError(f"pair {source}, {target}: there is no domain {name!r}")
            if source == target:
                raise ValueError(f"pair {source}, {target} is one domain: give two")
        for name, masks in (("translators", False), ("segmenters", True)):
            for key, network in getattr(self, name).items():
                recipe = network.resolved(0)
                if recipe.task.learns_masks != masks:
                    raise ValueError(f"{name}.{key}: a recipe of task {recipe.task.name} cannot be one of the {name}")
                if recipe.train.devices > 1:
                    raise ValueError(f"{name}.{key}: a study trains on one device: set train.devices=1")
        for key, segmenter in self.segmenters.items():
            if unknown := sorted({*segmenter.domains} - {*self.domains}):
                raise ValueError(f"segmenters.{key}.domains: there is no domain {unknown[0]!r}")
        for key, translator in self.translators.items():
            if translator.preserves and translator.preserves not in self.segmenters:
                raise ValueError(f"translators.{key}.preserves: there is no segmenter {translator.preserves!r}")
        self.settings()
        for translator in self.translators.values():
            for name in translator.strategies:
                self.settings(translator.settings(name))
        return self

    @property
    def asked(self) -> tuple[str, ...]:
        """All measures of the study; those under `first` count only where checkpoints of translators are picked."""
        return (*self.first, *self.measures) if self.translators and self.picks else self.measures

    @property
    def needs(self) -> frozenset[str]:
        """What the measures of the study need of their subjects."""
        return frozenset(need for name in self.asked for need in MEASURES[name].needs)

    def settings(self, *changes: Mapping[str, Any]) -> PredictSettings:
        """Return the study's settings of predict with changes; raise `BadInput` if they do not fit a study."""
        data = {"pyramid": False, "any_intensity": True, **self.predict}
        for change in changes:
            data |= change
        if several := [name for name in ("outputs", "split_outputs") if data.get(name)]:
            raise BadInput(
                f"study {self.name}: predict.{several[0]}: a study measures one volume per trial: leave it out"
            )
        if data.get("executor") == "slurm":
            raise BadInput(
                f"study {self.name}: predict.executor: a study waits for its predictions: use local or dask, not slurm"
            )
        try:
            return PredictSettings.model_validate({k: str(v) if k == "tile" else v for k, v in data.items()})
        except ValidationError as error:
            raise BadInput(f"study {self.name}: predict: {explain(error, PredictSettings)}") from None
