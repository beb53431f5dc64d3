"""List the trials of a study in the order in which they run, and what is still to be measured of each."""

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
"""Name of the upper bound: the untranslated source, segmented by networks of its own domain."""
MEASURED = "measured"
"""Key of the note that lists what was measured."""
PICKED = "picked"
"""Key of the note that says why the checkpoint was picked."""
JUDGES = "judges"
"""Key of the note that lists the segmenters whose predictions were compared with a mask."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One translated volume and the measures to take of it."""

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
    """Why its checkpoint was picked, in words."""

    @property
    def pair(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target

    @property
    def name(self) -> str:
        """Name of the trial, unique in a study and usable in file names."""
        parts = [f"{self.source}-to-{self.target}", self.translator]
        if self.kind == "network":
            parts += [f"seed{self.seed}", f"epoch{self.checkpoint:04d}", self.strategy, self.assembly]
        return ".".join(parts)

    @property
    def training(self) -> tuple[str, str, str, int | None]:
        """Key of the training: trials of one training differ in checkpoint, strategy and assembly."""
        return self.source, self.target, self.translator, self.seed

    @property
    def condition(self) -> tuple[object, ...]:
        """Key of the condition: trials of one condition differ in the checkpoint alone."""
        return *self.training, self.strategy, self.assembly

    def row(self) -> Row:
        """Return the row of this trial, still without values."""
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
    """Return the trials of the upper bound and of the translations without training, for every pair."""
    tiled = {name for need in ("grids", "network") for name in needing(need, study.measures)}
    every = tuple(name for name in study.measures if name not in tiled)
    judged = tuple(name for name in every if name in compared(every)) if study.segmenters else ()
    trials = []
    for source, target in study.pairs:
        levels: list[tuple[str, Kind, tuple[str, ...]]] = []
        if study.in_domain:
            levels.append((IN_DOMAIN, "bound", judged))
        levels += [(name, "baseline", judged if name == "adabn" else every) for name in study.baselines]
        for name, kind, measures in levels:
            if measures:
                trials.append(Trial(source=source, target=target, translator=name, kind=kind, measures=measures))
    return trials


def _conditions(study: Study, *, first: bool) -> Iterator[Trial]:
    """Yield every training with each of its strategies and assemblies, or with the first alone."""
    for source, target in study.pairs:
        for name, translator in study.translators.items():
            variants = [(s, a) for a in translator.ways() for s in translator.ordered()]
            for seed in translator.seeds:
                for strategy, assembly in variants[: 1 if first else None]:
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
    """Return the first round, one trial per checkpoint; [] if all checkpoints are measured in full anyway."""
    if not study.picks:
        return []
    conditions = _conditions(study, first=study.per == "network")
    return [
        replace(trial, checkpoint=epoch, measures=study.first)
        for trial in conditions
        for epoch in study.translators[trial.translator].epochs()
    ]


def picked_trials(study: Study, rows: Sequence[Row]) -> list[Trial]:
    """Return the trials that are measured in full, given the rows of the first round.

    A training (or condition) is left out if none of its checkpoints has the value to pick by.
    """
    done = {row.trial: row for row in rows if row.status == "done"}
    trials = []
    for condition in _conditions(study, first=False):
        translator = study.translators[condition.translator]
        if study.picks:
            ranked = condition if study.per == "condition" else next(_first_of(study, condition))
            names = [replace(ranked, checkpoint=epoch).name for epoch in translator.epochs()]
            reasons = picked(study.picks, [done[name] for name in names if name in done])
        else:
            reasons = dict.fromkeys(translator.epochs(), "")
        trials += [
            replace(condition, checkpoint=epoch, measures=study.measures, picked=reason)
            for epoch, reason in reasons.items()
        ]
    order = list(dict.fromkeys((trial.training, trial.checkpoint) for trial in trials))
    return sorted(trials, key=lambda trial: order.index((trial.training, trial.checkpoint)))


def _first_of(study: Study, condition: Trial) -> Iterator[Trial]:
    return (first for first in _conditions(study, first=True) if first.training == condition.training)


def needing(need: str, names: Iterable[str]) -> set[str]:
    """Return those of the named measures that have a certain need."""
    return {name for name in names if need in MEASURES[name].needs}


def compared(names: Iterable[str]) -> set[str]:
    """Return those of the named measures that compare segmentations with a mask."""
    return needing("segmentations", needing("mask", names))


def judges_of(study: Study, names: Iterable[str]) -> list[str]:
    """Return the segmenters, as `name/seed`, that measures need: all, or the first ones where fewer are enough."""
    counts = [MEASURES[name].segmenters for name in needing("segmentations", names)]
    every = [f"{name}/{seed}" for name, segmenter in study.segmenters.items() for seed in segmenter.seeds]
    return every[: max((len(every) if count is None else count for count in counts), default=0)]


def measured(row: Row | None) -> set[str]:
    """Return the names of the measures that a row has."""
    return set() if row is None or row.status != "done" else set(row.notes.get(MEASURED, "").split())


def left(study: Study, row: Row | None, trial: Trial) -> list[str]:
    """Return the measures that a trial still lacks, including those that lack segmenters added later."""
    present = measured(row)
    if row is not None:
        judged = row.notes.get(JUDGES, " ".join(row.segmentations)).split()
        for name in needing("segmentations", trial.measures):
            known = judged if compared([name]) else row.segmentations
            present -= {name} if {*judges_of(study, [name])} - {*known} else set()
    return [measure for measure in trial.measures if measure not in present]


def picked(picks: Sequence[Pick], rows: Sequence[Row]) -> dict[int, str]:
    """Return the picked epochs, each with its reason, such as `best by label_free/confidence`."""
    chosen: dict[int, list[str]] = {}
    for pick in picks:
        try:
            by_role = _by_epoch(rows, pick) if pick.by == "checkpoint" else _by_value(rows, pick)
        except BadInput as error:
            log.warning("%s", error)
            continue
        for role in pick.roles:
            for rank, row in enumerate(by_role[role], start=1):
                if row.checkpoint is not None:
                    title = role if rank == 1 else f"{role} {rank}"  # reports show the first of each role
                    chosen.setdefault(row.checkpoint, []).append(f"{title} by {pick.by}")
    return {epoch: "; ".join(reasons) for epoch, reasons in sorted(chosen.items())}


def _by_value(rows: Sequence[Row], pick: Pick) -> dict[str, list[Row]]:
    return pick_several(rows, pick.by, each=pick.count, lowest=pick.lowest)


def _by_epoch(rows: Sequence[Row], pick: Pick) -> dict[str, list[Row]]:
    ranked = sorted(rows, key=lambda row: row.checkpoint or 0, reverse=pick.lowest is False)
    if not ranked:
        raise BadInput("there is no checkpoint to pick")
    first = max(0, len(ranked) // 2 - pick.count // 2)
    middle = ranked[first : first + pick.count]
    return {"best": ranked[: pick.count], "middle": middle, "worst": ranked[::-1][: pick.count]}
