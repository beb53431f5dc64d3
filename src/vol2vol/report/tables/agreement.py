"""Tabulate how well metrics rank volumes as IoU does, and which checkpoints label-free rules pick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vol2vol.metrics.measures import measures, quantity_of
from vol2vol.report.rows.conditions import condition, conditions, overlap, roles, training
from vol2vol.report.rows.rows import Row, Value
from vol2vol.report.statistics.ranks import Correlation, rank_correlation
from vol2vol.report.tables.cells import Cell, Column, Missing, Table, label, signed, with_interval


def metrics(rows: Sequence[Row]) -> list[str]:
    """Return the names of values that may rank volumes: all but values of segmentation and cost.

    They include values of unknown measures, whose sense is unknown.
    """
    unranked = {measure.family for measure in measures() if not measure.ranked}
    names = dict.fromkeys(name for row in rows for name in row.values)
    return [
        name for name in names if name.partition("/")[0] not in unranked and (better(name) or quantity_of(name) is None)
    ]


def better(name: str) -> str:
    """Return the sense of a metric: `higher`, `lower`, `nearer 1`, or "" if it is unknown."""
    quantity = quantity_of(name)
    return (quantity.sense or "") if quantity else ""


def oriented(name: str, value: float | None) -> float | None:
    """Return a metric with its sign such that higher is better; unchanged if its sense is unknown."""
    quantity = quantity_of(name)
    return value if value is None or quantity is None else quantity.goodness(value)


def agreement(rows: Sequence[Row]) -> Table:
    """Return the rank correlation of every metric with IoU, per direction, highest first.

    One column uses all segmented volumes except the bounds, another only those of networks: simple translations and
    failed checkpoints are easy to distinguish from good ones and raise any correlation.
    """
    lines: list[list[Cell]] = []
    findings = []
    for direction in dict.fromkeys(condition(row).direction for row in rows):
        judged = [
            row
            for row in rows
            if condition(row).direction == direction and row.kind != "bound" and overlap(row) is not None
        ]
        networks = [row for row in judged if row.kind == "network"]
        correlations = {name: (_correlation(name, judged), _correlation(name, networks)) for name in metrics(judged)}
        for name, (every, trained) in sorted(correlations.items(), key=lambda item: -(item[1][0].rho or -2)):
            if every.rows > 1:
                cells = [_cell(every), every.rows, every.groups, _cell(trained), trained.rows]
                lines.append([direction, name, better(name) or "unknown", *cells])
        findings += _read(direction, {name: every for name, (every, _) in correlations.items()})
    return Table(
        name="agreement",
        title="Does a metric rank volumes as IoU does?",
        columns=[
            label("direction"),
            label("metric"),
            label("better", "Better when"),
            signed("rho", "Agreement with IoU, all volumes", digits=2),
            Column(name="volumes"),
            Column(name="trainings"),
            signed("rho_networks", "Networks alone", digits=2),
            Column(name="volumes_networks", title="Volumes"),
        ],
        rows=lines,
        findings=findings,
        note="Spearman's rank correlation with the mean IoU of a volume. Its sign is chosen so that +1 is full "
        "agreement, whether high or low values of the metric are better. Volumes of one training are not independent; "
        "intervals therefore resample trainings, of which they need at least five.",
    )


def picks_table(rows: Sequence[Row], rules: Sequence[tuple[str, bool | None]]) -> Table:
    """Return the checkpoints that each rule picks, with their IoU; a rule is the name of a value and its `lowest`.

    The cost of a rule is the highest IoU among the segmented checkpoints of a training and condition, minus the IoU of
    the checkpoint that the rule ranks best.
    """
    lines: list[list[Cell]] = []
    missed: dict[str, list[float]] = {}
    for by, lowest in rules:
        for cells, highest in _picked(rows, by, lowest):
            *_, role, _, _, iou = cells
            lines.append([*cells, highest])
            if role == "best" and isinstance(iou, float):
                missed.setdefault(by, []).append(highest - iou)
    return Table(
        name="picks",
        title="Checkpoints picked by each rule, and the IoU that the rule costs",
        columns=[
            label("direction"),
            label("condition"),
            Column(name="seed", digits=1),
            label("rule"),
            label("role"),
            Column(name="checkpoint", title="Epoch", digits=6),
            Column(name="value", title="Value of the rule"),
            Column(name="iou", title="IoU", places=True),
            Column(name="iou_highest", title="Highest IoU", places=True),
        ],
        rows=lines,
        findings=[
            f"Choosing the best checkpoint by {by} costs {sum(lost) / len(lost):.3f} of IoU on average against the "
            f"best of those segmented ({len(lost)} choices)."
            for by, lost in missed.items()
        ],
        note="Only checkpoints picked by at least one rule were segmented.",
    )


def _picked(rows: Sequence[Row], by: str, lowest: bool | None) -> Iterator[tuple[list[Cell], float]]:
    """Yield a line per picked checkpoint, and the highest IoU of its training and condition, if there are several."""
    networks = [row for row in rows if row.kind == "network"]
    by_trial = roles(networks, by, lowest=lowest)
    for key, group in conditions(networks).items():
        for seed in dict.fromkeys(row.seed for row in group):
            known = {row.trial: iou for row in group if row.seed == seed and (iou := overlap(row)) is not None}
            for row in group if len(known) > 1 else ():
                if row.trial in known and row.trial in by_trial:
                    cells: list[Cell] = [by, by_trial[row.trial], row.checkpoint, row.number(by), known[row.trial]]
                    yield [key.direction, key.name, seed, *cells], max(known.values())


def _correlation(name: str, rows: Sequence[Row]) -> Correlation:
    values = [oriented(name, row.number(name)) for row in rows]
    return rank_correlation(values, [overlap(row) for row in rows], [training(row) for row in rows])


def _cell(correlation: Correlation) -> Cell:
    if correlation.rho is None:
        return Missing("fewer than four volumes" if correlation.rows < 4 else "all values are equal")
    return Value(value=correlation.rho, low=correlation.low, high=correlation.high)


def _read(direction: str, correlations: dict[str, Correlation]) -> list[str]:
    known = {name: entry for name, entry in correlations.items() if entry.rho is not None and better(name)}
    if not known:
        return []
    best = max(known, key=lambda name: known[name].rho or -2)
    fids = [name for name in known if "/fid/" in name and name.endswith("/xy")]
    parts = [f"{name} {_text(known[name])}" for name in fids]
    if best not in fids:
        parts.append(f"the highest of {len(known)} metrics is {best} {_text(known[best])}")
    return [f"{direction}: agreement with the ranks of IoU over {known[best].rows} volumes: {', '.join(parts)}."]


def _text(correlation: Correlation) -> str:
    return with_interval(Value(value=correlation.rho, low=correlation.low, high=correlation.high), digits=2)
