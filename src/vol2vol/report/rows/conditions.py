"""Rows sorted by what was done: conditions, their seeds and checkpoints, and which checkpoint stands for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vol2vol.report.rows.checkpoint_roles import ROLES, pick
from vol2vol.report.rows.rows import Row

IDENTITY, HISTOGRAM, SPECTRUM = "identity", "histogram", "spectrum"
BASELINE_NAMES = {
    IDENTITY: "untranslated",
    "meanstd": "mean and sd",
    HISTOGRAM: "histogram",
    SPECTRUM: "histogram + spectrum",
    "adabn": "untranslated, AdaBN",
}
"""From the simplest on; AdaBN adapts the segmenter instead."""
BASELINES = tuple(BASELINE_NAMES)
REFERENCES = ("exact", "printed", "average", "blend")
"""Strategies from the least seamed on: what others are compared with is the first that there is."""


@dataclass(frozen=True)
class Condition:
    """All that a row says was done, without seed and checkpoint."""

    source: str
    target: str
    translator: str
    kind: str
    dims: int | None
    strategy: str
    assembly: str

    @property
    def direction(self) -> str:
        """Source and target in words."""
        return f"{self.source} → {self.target}"

    @property
    def way(self) -> str:
        """Strategy and assembly in words, empty for what has none."""
        return ", ".join(part for part in (self.strategy, self.assembly) if part)

    @property
    def name(self) -> str:
        """Everything but the direction in words."""
        if self.kind == "bound":
            return "in-domain"
        if self.kind == "baseline":
            return BASELINE_NAMES.get(self.translator, self.translator)
        return f"{self.translator} ({self.way})" if self.way else self.translator


def condition(row: Row) -> Condition:
    """Return the condition of a row; how a baseline was tiled is no part of it, for it has no seams."""
    way = (row.strategy, row.assembly) if row.kind == "network" else ("", "")
    dims = row.dims if row.kind == "network" else None
    return Condition(row.source, row.target, row.translator, row.kind, dims, *way)


def conditions(rows: Iterable[Row]) -> dict[Condition, list[Row]]:
    """Sort rows by condition, in order of appearance: of a direction first the bound, baselines, then networks."""
    found: dict[Condition, list[Row]] = {}
    for row in rows:
        found.setdefault(condition(row), []).append(row)
    directions = list(dict.fromkeys(one.direction for one in found))
    names = list(dict.fromkeys((*BASELINES, *(one.translator for one in found))))
    ways = list(dict.fromkeys((*REFERENCES, *(one.strategy for one in found))))

    def place(one: Condition) -> tuple[object, ...]:
        kind = ("bound", "baseline", "network").index(one.kind)
        return (
            directions.index(one.direction),
            kind,
            names.index(one.translator),
            one.assembly,
            ways.index(one.strategy),
        )

    return {one: found[one] for one in sorted(found, key=place)}


def training(row: Row) -> tuple[object, ...]:
    """Return what tells one training from another: rows of one are no independent observations."""
    return row.source, row.target, row.translator, row.dims, row.seed


def by_training(rows: Iterable[Row]) -> dict[tuple[object, ...], list[Row]]:
    """Sort rows by the training whose network made them."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(training(row), []).append(row)
    return found


def reference(names: Iterable[str]) -> str:
    """Return the least seamed of some strategies; the first where none is known."""
    names = list(names)
    return next((name for name in REFERENCES if name in names), names[0] if names else "")


def roles(rows: Sequence[Row], by: str, *, lowest: bool | None = None) -> dict[str, str]:
    """Return which trials show the best, the middle or the worst checkpoint of their training, by trial.

    As each row's own note says, where a training has notes on `by`: checkpoints may have been picked in each
    condition by itself. Else the checkpoints of a training are ranked once, by the
    volumes of its least seamed strategy, for all its strategies and assemblies: so they are compared on the same
    checkpoint. Where no volume has the value the last checkpoint is the best. Baselines and bounds are their own best.
    """
    found: dict[str, str] = {}
    for group in by_training(rows).values():
        noted = {row.trial: role for row in group for role in reversed(ROLES) if f"{role} by {by}" in _picked(row)}
        if group[0].kind != "network":
            found.update({row.trial: "best" for row in group})
        elif noted:
            found.update(noted)
        else:
            chosen = _chosen(group, by, lowest)
            found.update({row.trial: chosen[row.checkpoint] for row in group if row.checkpoint in chosen})
    return found


def _picked(row: Row) -> list[str]:
    return row.notes.get("picked", "").split("; ")


def _chosen(group: Sequence[Row], by: str, lowest: bool | None) -> dict[int | None, str]:
    if by == "checkpoint":
        epochs = sorted({row.checkpoint or 0 for row in group}, reverse=lowest is False)
        return {epochs[-1]: "worst", epochs[len(epochs) // 2]: "middle", epochs[0]: "best"}
    first = reference(row.strategy for row in group if row.number(by) is not None)
    ranked = [row for row in group if row.strategy == first and row.number(by) is not None]
    if not ranked:
        return {max((row.checkpoint for row in group if row.checkpoint is not None), default=None): "best"}
    picked = pick([row for row in ranked if row.assembly == ranked[0].assembly], by, lowest)
    return {picked[role].checkpoint: role for role in reversed(ROLES)}


def with_role(rows: Iterable[Row], found: dict[str, str], role: str = "best") -> list[Row]:
    """Return the rows of one role."""
    return [row for row in rows if found.get(row.trial) == role]


def first_name(rows: Iterable[Row], fits: Callable[[str], bool], wishes: Sequence[str] = ()) -> str:
    """Return the first of some wished-for names of values that a row has, else any that fits, else nothing."""
    known = dict.fromkeys(name for row in rows for name, value in row.values.items() if value.value is not None)
    return next((name for name in wishes if name in known), next(filter(fits, known), ""))


def fid_name(rows: Iterable[Row]) -> str:
    """Return the FID to show: that of Inception in the xy plane, as in the paper, else whatever was measured."""
    wishes = [f"distance/{ruler}/fid/xy" for ruler in ("inception", "encoder")]
    return first_name(rows, lambda name: name.startswith("distance/") and name.split("/")[2] == "fid", wishes)


def judges(rows: Iterable[Row], metric: str) -> list[tuple[str, str]]:
    """Return the segmenters and their seeds that gave any row a value of a metric."""
    found: dict[tuple[str, str], None] = {}
    for row in rows:
        for name in row.values:
            parts = name.split("/")
            if len(parts) == 4 and parts[0] == "segmentation" and parts[3] == metric:
                found[parts[1], parts[2]] = None
    return list(found)


def overlap(row: Row, metric: str = "iou") -> float | None:
    """Return the mean of a downstream metric over segmenters and their seeds."""
    known = [
        value
        for name, seed in judges([row], metric)
        if (value := row.number(f"segmentation/{name}/{seed}/{metric}")) is not None
    ]
    return sum(known) / len(known) if known else None
