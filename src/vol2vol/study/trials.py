"""The trials of a study as values: what is translated and judged, in the order in which it is done."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from vol2vol.errors import BadInput
from vol2vol.metrics.measures import MEASURES
from vol2vol.report.rows.checkpoint_roles import pick_several
from vol2vol.report.rows.rows import Kind, Row
from vol2vol.study.measure_settings import Pick
from vol2vol.study.settings import Study

log = logging.getLogger(__name__)
IN_DOMAIN = "in-domain"
"""The translator of the upper bound: none, and segmenters of the source's own domain."""
MEASURED = "measured"
"""The note of a row that says what was measured."""
PICKED = "picked"
"""The note of a row that says what its checkpoint was picked as."""
JUDGES = "judges"
"""The note of a row that names the segmenters by which it was compared with a mask."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One translated volume and what is to be measured on it."""

    source: str
    target: str
    translator: str
    kind: Kind = "network"
    dims: int | None = None
    seed: int | None = None
    checkpoint: int | None = None
    strategy: str = ""
    assembly: str = ""
    measures: tuple[str, ...] = ()
    picked: str = ""
    """Why its checkpoint is looked at, in words."""

    @property
    def pair(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target

    @property
    def name(self) -> str:
        """Name, unique in a study and fit for a file."""
        parts = [f"{self.source}-to-{self.target}", self.translator]
        if self.kind == "network":
            parts += [f"seed{self.seed}", f"epoch{self.checkpoint:04d}", self.strategy, self.assembly]
        return ".".join(parts)

    @property
    def training(self) -> tuple[str, str, str, int | None]:
        """What distinguishes trainings: trials of one training differ in checkpoint, strategy and assembly."""
        return self.source, self.target, self.translator, self.seed

    @property
    def condition(self) -> tuple[object, ...]:
        """What distinguishes conditions: trials of one condition differ in the checkpoint alone."""
        return *self.training, self.strategy, self.assembly

    def row(self) -> Row:
        """Return the row of this trial before anything is known."""
        return Row(
            trial=self.name,
            source=self.source,
            target=self.target,
            translator=self.translator,
            kind=self.kind,
            dims=self.dims,
            seed=self.seed,
            checkpoint=self.checkpoint,
            strategy=self.strategy,
            assembly=self.assembly,
        )


def baseline_trials(study: Study) -> list[Trial]:
    """Return the upper bound and the translations without training, of every pair."""
    tiled = {name for need in ("grids", "network") for name in needing(need, study.measures)}
    every = tuple(name for name in study.measures if name not in tiled)
    judged = tuple(name for name in every if name in compared(every)) if study.segmenters else ()
    trials = []
    for source, target in study.pairs:
        rungs: list[tuple[str, Kind, tuple[str, ...]]] = []
        if study.in_domain:
            rungs.append((IN_DOMAIN, "bound", judged))
        rungs += [(one, "baseline", judged if one == "adabn" else every) for one in study.baselines]
        for name, kind, measures in rungs:
            if measures:
                trials.append(Trial(source=source, target=target, translator=name, kind=kind, measures=measures))
    return trials


def _conditions(study: Study, *, first: bool) -> Iterator[Trial]:
    """Yield every training, with each of its strategies and assemblies, or the first alone."""
    for source, target in study.pairs:
        for name, translator in study.translators.items():
            ways = [(s, a) for a in translator.ways() for s in translator.ordered()]
            for seed in translator.seeds:
                for strategy, assembly in ways[: 1 if first else None]:
                    yield Trial(
                        source=source,
                        target=target,
                        translator=name,
                        dims=translator.resolved(seed).dims,
                        seed=seed,
                        strategy=strategy,
                        assembly=assembly,
                    )


def checkpoint_trials(study: Study) -> list[Trial]:
    """Return the first look at every checkpoint; none where all are measured in full anyway."""
    if not study.picks:
        return []
    conditions = _conditions(study, first=study.per == "network")
    return [
        replace(one, checkpoint=epoch, measures=study.first)
        for one in conditions
        for epoch in study.translators[one.translator].epochs()
    ]


def picked_trials(study: Study, rows: Sequence[Row]) -> list[Trial]:
    """Return what is measured in full, given the rows of the first look.

    A training (or condition) of which no checkpoint has the values asked for is left out.
    """
    done = {row.trial: row for row in rows if row.status == "done"}
    trials = []
    for one in _conditions(study, first=False):
        translator = study.translators[one.translator]
        if study.picks:
            seen = one if study.per == "condition" else next(_first_of(study, one))
            looked = [row for epoch in translator.epochs() if (row := done.get(replace(seen, checkpoint=epoch).name))]
            chosen = picked(study.picks, looked)
        else:
            chosen = dict.fromkeys(translator.epochs(), "")
        trials += [replace(one, checkpoint=e, measures=study.measures, picked=why) for e, why in chosen.items()]
    order = list(dict.fromkeys((one.training, one.checkpoint) for one in trials))
    return sorted(trials, key=lambda one: order.index((one.training, one.checkpoint)))


def _first_of(study: Study, one: Trial) -> Iterator[Trial]:
    return (first for first in _conditions(study, first=True) if first.training == one.training)


def needing(need: str, names: Iterable[str]) -> set[str]:
    """Return the measures among these names that need something of their subject."""
    return {name for name in names if need in MEASURES[name].needs}


def compared(names: Iterable[str]) -> set[str]:
    """Return the measures among these names that compare what segmenters see with a mask."""
    return needing("segmentations", needing("mask", names))


def judges_of(study: Study, names: Iterable[str]) -> list[str]:
    """Return the segmenters, as `name/seed`, that measures ask of a study: all, or the first where few are enough."""
    counts = [MEASURES[name].segmenters for name in needing("segmentations", names)]
    every = [f"{name}/{seed}" for name, about in study.segmenters.items() for seed in about.seeds]
    return every[: max((len(every) if count is None else count for count in counts), default=0)]


def measured(row: Row | None) -> set[str]:
    """Return what a row tells already."""
    return set() if row is None or row.status != "done" else set(row.notes.get(MEASURED, "").split())


def left(study: Study, row: Row | None, trial: Trial) -> list[str]:
    """Return what is still to be measured of a trial: also what segmenters that came later were not asked."""
    had = measured(row)
    if row is not None:
        judged = row.notes.get(JUDGES, " ".join(row.segmentations)).split()
        for name in needing("segmentations", trial.measures):
            known = judged if compared([name]) else row.segmentations
            had -= {name} if {*judges_of(study, [name])} - {*known} else set()
    return [measure for measure in trial.measures if measure not in had]


def picked(picks: Sequence[Pick], rows: Sequence[Row]) -> dict[int, str]:
    """Return the epochs that are picked, each with why, such as `best by label_free/confidence`."""
    chosen: dict[int, list[str]] = {}
    for how in picks:
        try:
            found = _by_epoch(rows, how) if how.by == "checkpoint" else _by_value(rows, how)
        except BadInput as error:
            log.warning("%s", error)
            continue
        for role in how.roles:
            for place, row in enumerate(found[role], start=1):
                if row.checkpoint is not None:
                    called = role if place == 1 else f"{role} {place}"  # reports look at the first of each role
                    chosen.setdefault(row.checkpoint, []).append(f"{called} by {how.by}")
    return {epoch: "; ".join(why) for epoch, why in sorted(chosen.items())}


def _by_value(rows: Sequence[Row], how: Pick) -> dict[str, list[Row]]:
    return pick_several(rows, how.by, each=how.count, lowest=how.lowest)


def _by_epoch(rows: Sequence[Row], how: Pick) -> dict[str, list[Row]]:
    ranked = sorted(rows, key=lambda row: row.checkpoint or 0, reverse=how.lowest is False)
    if not ranked:
        raise BadInput("there is no checkpoint to pick")
    first = max(0, len(ranked) // 2 - how.count // 2)
    middle = ranked[first : first + how.count]
    return {"best": ranked[: how.count], "middle": middle, "worst": ranked[::-1][: how.count]}
