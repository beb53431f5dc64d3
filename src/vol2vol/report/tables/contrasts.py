"""Compare strategies on the same checkpoint, translators with simple translations, and assemblies, in pairs."""

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
from vol2vol.report.tables.cells import Cell, Missing, Table, label, probability, signed, with_interval

METRICS = {"iou": "IoU", "auprc": "AUPRC"}
ALPHA = 0.05
RICHEST = {"volume": 0, "ortho": 1}
"""Order of assemblies in a difference."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One difference, first minus second."""

    family: str
    """Kind of the comparison: strategy, translator or assembly."""
    direction: str
    first: Condition
    second: Condition
    role: str
    metric: str
    seeds: tuple[int, int]
    """Number of trainings and of segmenters that both sides share."""
    estimate: Estimate

    @property
    def name(self) -> str:
        """Title of the difference."""
        a, b = self.first, self.second
        if self.family == "strategy":
            return f"{a.translator} ({a.assembly}) {a.strategy} \N{MINUS SIGN} {b.strategy}"
        return f"{a.name} \N{MINUS SIGN} {b.name}"

    @property
    def value(self) -> Value:
        """The difference with its interval."""
        return self.estimate.interval()


def contrasts(rows: Sequence[Row], judged: Judged, roles: dict[str, str]) -> list[Contrast]:
    """Return all contrasts that the rows allow; draws pair blocks, and also seeds that both sides have.

    For best, middle and worst checkpoints, strategies are compared with the reference strategy of the same training,
    checkpoint and assembly, and assemblies of the same training with each other. For best checkpoints, different
    trainings are compared too, and each training with simple translations. Both sides have the same segmenters.
    """
    differences = []
    for role in ROLES:
        groups = conditions(with_role(rows, roles, role))
        baselines = conditions(with_role([row for row in rows if row.kind == "baseline"], roles))
        for family, first, second, sides in _pairs(groups, baselines, role):
            for metric in METRICS:
                a, b = _matched(*sides)
                shared = [judge for judge in judges(a, metric) if judge in judges(b, metric)]
                if not shared:
                    continue
                differences.append(
                    Contrast(
                        family=family,
                        direction=first.direction,
                        first=first,
                        second=second,
                        role=role,
                        metric=metric,
                        seeds=(len({row.seed for row in a}), len(shared)),
                        estimate=judged.pooled(a, metric, shared) - judged.pooled(b, metric, shared),
                    )
                )
    return [difference for difference in differences if difference.estimate.value is not None]


Pair = tuple[str, Condition, Condition, tuple[list[Row], list[Row]]]


def _pairs(groups: dict[Condition, list[Row]], baselines: dict[Condition, list[Row]], role: str) -> Iterator[Pair]:
    """Yield the pairs to compare: the reference strategy with the others and, for best checkpoints, with everything."""
    networks = {key: group for key, group in groups.items() if key.kind == "network"}
    references: dict[tuple[str, str, str], Condition] = {}
    for a in networks:
        family = (a.direction, a.translator, a.assembly)
        siblings = [b for b in networks if (b.direction, b.translator, b.assembly) == family]
        if a.strategy == reference(b.strategy for b in siblings):
            references[family] = a
            for b in siblings:
                if b != a:
                    yield "strategy", a, b, (networks[a], networks[b])
    for a, b in combinations(sorted(references.values(), key=lambda key: RICHEST.get(key.assembly, 2)), 2):
        if a.direction == b.direction and (role == "best" or a.translator == b.translator):
            yield "assembly", a, b, (networks[a], networks[b])
    for a in references.values() if role == "best" else ():
        for b, group in baselines.items():
            if b.direction == a.direction and b.translator in (IDENTITY, HISTOGRAM, SPECTRUM):
                yield "translator", a, b, (networks[a], group)


def _matched(first: list[Row], second: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of seeds and checkpoints that both sides have; all rows if the translators differ."""
    if first[0].translator != second[0].translator:
        return first, second
    shared = {(row.seed, row.checkpoint) for row in first} & {(row.seed, row.checkpoint) for row in second}
    a, b = ([row for row in side if (row.seed, row.checkpoint) in shared] for side in (first, second))
    return a, b


def contrast_table(differences: Sequence[Contrast]) -> Table:
    """Return the contrasts, with p corrected for all contrasts of a kind and metric (Holm)."""
    corrected = corrected_p(differences)
    lines: list[list[Cell]] = []
    for difference, p in zip(differences, corrected, strict=True):
        own = difference.estimate.p
        lines.append(
            [
                difference.direction,
                difference.family,
                difference.name,
                difference.role,
                METRICS[difference.metric],
                f"{difference.seeds[0]}, {difference.seeds[1]}",
                difference.value,
                own if own is not None else Missing("no sums per block were kept"),
                p if p is not None else Missing("no sums per block were kept"),
            ]
        )
    return Table(
        name="contrasts",
        title="Contrasts: paired comparisons on the same voxels with the same segmenters",
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
        findings=_read(differences, corrected),
        note="Above 0, the first is better. Intervals are from a paired block bootstrap, which draws the same blocks "
        "for both sides; if a training or a segmenter has two or more seeds, seeds are drawn too, and paired if both "
        "sides have them. The 95 % intervals hold for one contrast, the corrected p (Holm) for all contrasts of its "
        "kind.",
    )


def corrected_p(differences: Sequence[Contrast]) -> list[float | None]:
    """Return p of each contrast, corrected for all contrasts of its kind and metric (Holm 1979)."""
    corrected: list[float | None] = [None] * len(differences)
    kinds = [(difference.metric, difference.family) for difference in differences]
    for kind in dict.fromkeys(kinds):
        family = [index for index, own in enumerate(kinds) if own == kind]
        for index, p in zip(family, holm_known([differences[i].estimate.p for i in family]), strict=True):
            corrected[index] = p
    return corrected


def _read(differences: Sequence[Contrast], corrected: Sequence[float | None]) -> list[str]:
    """Return a sentence per translation, compared with simple ones, and per strategy, compared with others."""
    parts: dict[tuple[str, str, str], list[str]] = {}
    for difference, p in zip(differences, corrected, strict=True):
        if difference.metric == "iou" and difference.role == "best" and difference.family != "assembly":
            first, _, second = difference.name.partition(" \N{MINUS SIGN} ")
            chance = " (not significant)" if p is not None and p >= ALPHA else ""
            key = (difference.family, difference.direction, first)
            parts.setdefault(key, []).append(f"minus {second} {with_interval(difference.value)}{chance}")
    order = sorted(parts, key=lambda key: key[0] != "translator")
    return [f"{key[1]}: IoU of {key[2]} {', '.join(parts[key])}." for key in order]
