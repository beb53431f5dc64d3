"""Paired contrasts: strategies on the same checkpoint, translators against simple means, assemblies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from vol2vol.report.rows.checkpoint_roles import ROLES
from vol2vol.report.rows.conditions import (
    HISTOGRAM,
    IDENTITY,
    SPECTRUM,
    Condition,
    conditions,
    judges,
    reference,
    with_role,
)
from vol2vol.report.rows.rows import Row, Value
from vol2vol.report.statistics.estimates import Estimate, Judged, holm_known
from vol2vol.report.tables.cells import Cell, Missing, Table, label, probability, said, signed

METRICS = {"iou": "IoU", "auprc": "AUPRC"}
ALPHA = 0.05
RICHEST = {"volume": 0, "ortho": 1}
"""Assemblies that come first in a difference."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One difference, first minus second."""

    family: str
    """strategy, translator or assembly."""
    direction: str
    first: Condition
    second: Condition
    role: str
    metric: str
    seeds: tuple[int, int]
    """Trainings and segmenters that both have."""
    found: Estimate

    @property
    def name(self) -> str:
        """The difference in words."""
        a, b = self.first, self.second
        if self.family == "strategy":
            return f"{a.translator} ({a.assembly}) {a.strategy} \N{MINUS SIGN} {b.strategy}"
        return f"{a.name} \N{MINUS SIGN} {b.name}"

    @property
    def value(self) -> Value:
        """The difference with its interval."""
        return self.found.interval()


def contrasts(rows: Sequence[Row], judged: Judged, roles: dict[str, str]) -> list[Contrast]:
    """Return every contrast that the rows allow, with draws that pair blocks, and seeds where both sides have them.

    Strategies are compared with the least seamed one of the same training, checkpoint and assembly, and assemblies of
    the same training with each other, for best, middle and worst checkpoints; of best checkpoints also different
    trainings, and each with simple translations.
    Both sides are judged by the same segmenters and seeds.
    """
    found = []
    for role in ROLES:
        there = conditions(with_role(rows, roles, role))
        baselines = conditions(with_role([row for row in rows if row.kind == "baseline"], roles))
        for family, first, second, groups in _pairs(there, baselines, role):
            for metric in METRICS:
                a, b = _matched(*groups)
                both = [judge for judge in judges(a, metric) if judge in judges(b, metric)]
                if not both:
                    continue
                found.append(
                    Contrast(
                        family=family,
                        direction=first.direction,
                        first=first,
                        second=second,
                        role=role,
                        metric=metric,
                        seeds=(len({row.seed for row in a}), len(both)),
                        found=judged.pooled(a, metric, both) - judged.pooled(b, metric, both),
                    )
                )
    return [one for one in found if one.found.value is not None]


Pair = tuple[str, Condition, Condition, tuple[list[Row], list[Row]]]


def _pairs(there: dict[Condition, list[Row]], baselines: dict[Condition, list[Row]], role: str) -> Iterator[Pair]:
    """Yield what to compare: the reference strategy with the others, and, of best checkpoints, with everything else."""
    networks = {one: group for one, group in there.items() if one.kind == "network"}
    seamless: dict[tuple[str, str, str], Condition] = {}
    for one in networks:
        key = (one.direction, one.translator, one.assembly)
        siblings = [two for two in networks if (two.direction, two.translator, two.assembly) == key]
        first = reference(two.strategy for two in siblings)
        if one.strategy == first:
            seamless[key] = one
            for two in siblings:
                if two != one:
                    yield "strategy", one, two, (networks[one], networks[two])
    for one, two in combinations(sorted(seamless.values(), key=lambda one: RICHEST.get(one.assembly, 2)), 2):
        if one.direction == two.direction and (role == "best" or one.translator == two.translator):
            yield "assembly", one, two, (networks[one], networks[two])
    for one in seamless.values() if role == "best" else ():
        for two, group in baselines.items():
            if two.direction == one.direction and two.translator in (IDENTITY, HISTOGRAM, SPECTRUM):
                yield "translator", one, two, (networks[one], group)


def _matched(first: list[Row], second: list[Row]) -> tuple[list[Row], list[Row]]:
    """Keep the trainings and checkpoints that both have, where both are of one translator; else all."""
    if first[0].translator != second[0].translator:
        return first, second
    both = {(row.seed, row.checkpoint) for row in first} & {(row.seed, row.checkpoint) for row in second}
    a, b = ([row for row in side if (row.seed, row.checkpoint) in both] for side in (first, second))
    return a, b


def contrast_table(found: Sequence[Contrast]) -> Table:
    """Return the contrasts with p corrected over all contrasts of a kind and metric (Holm)."""
    corrected = corrected_p(found)
    lines: list[list[Cell]] = []
    for index, one in enumerate(found):
        p = corrected[index]
        lines.append(
            [
                one.direction,
                one.family,
                one.name,
                one.role,
                METRICS[one.metric],
                f"{one.seeds[0]}, {one.seeds[1]}",
                one.value,
                one.found.p if one.found.p is not None else Missing("no sums per block were kept"),
                p if p is not None else Missing("no sums per block were kept"),
            ]
        )
    return Table(
        name="contrasts",
        title="Contrasts: the same voxels, the same segmenters, in pairs",
        columns=[
            label("direction"),
            label("family", "Kind"),
            label("contrast", "First \N{MINUS SIGN} second"),
            label("checkpoint"),
            label("metric"),
            label("seeds", "Seeds (trained, segmenters)"),
            signed("difference", "Difference"),
            probability("p", "p"),
            probability("p_holm", "p, corrected"),
        ],
        rows=lines,
        findings=_read(found, corrected),
        note="Above 0: the first is better. Paired block bootstrap: both sides are drawn with the same blocks; where "
        "there are two or more seeds of a training or a segmenter these are drawn too, and paired where both sides "
        "have them. Intervals of 95 % stand for one contrast alone, the corrected p (Holm) for all of its kind.",
    )


def corrected_p(found: Sequence[Contrast]) -> list[float | None]:
    """Return p of each contrast, corrected for all contrasts of its kind and metric (Holm 1979)."""
    corrected: list[float | None] = [None] * len(found)
    for key in dict.fromkeys((one.metric, one.family) for one in found):
        family = [index for index, one in enumerate(found) if (one.metric, one.family) == key]
        for index, p in zip(family, holm_known([found[i].found.p for i in family]), strict=True):
            corrected[index] = p
    return corrected


def _read(found: Sequence[Contrast], corrected: Sequence[float | None]) -> list[str]:
    """Say in a sentence each what one translation gains over simple ones, and one strategy over others."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for one, p in zip(found, corrected, strict=True):
        if one.metric == "iou" and one.role == "best" and one.family != "assembly":
            first, _, second = one.name.partition(" \N{MINUS SIGN} ")
            chance = " (may be chance)" if p is not None and p >= ALPHA else ""
            told.setdefault((one.family, one.direction, first), []).append(f"minus {second} {said(one.value)}{chance}")
    order = sorted(told, key=lambda key: key[0] != "translator")
    return [f"{key[1]}: IoU of {key[2]} {', '.join(told[key])}." for key in order]
