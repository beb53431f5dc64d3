"""Group rows by condition and by training, and choose the checkpoint that represents each training."""

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
"""Titles of the baselines, the simplest first; AdaBN adapts the segmenter instead of translating."""
BASELINES = tuple(BASELINE_NAMES)
REFERENCES = ("exact", "printed", "march", "average", "blend")
"""Strategies by increasing seams: the first of them in a study is its reference."""


@dataclass(frozen=True)
class Condition:
    """How a volume was made, without seed and checkpoint."""

    source: str
    target: str
    translator: str
    kind: str
    dims: int | None
    strategy: str
    assembly: str

    @property
    def direction(self) -> str:
        """Title of source and target."""
        return f"{self.source} → {self.target}"

    @property
    def way(self) -> str:
        """Title of strategy and assembly; empty for baselines and bounds."""
        return ", ".join(part for part in (self.strategy, self.assembly) if part)

    @property
    def name(self) -> str:
        """Title of the condition without its direction."""
        if self.kind == "bound":
            return "in-domain"
        if self.kind == "baseline":
            return BASELINE_NAMES.get(self.translator, self.translator)
        return f"{self.translator} ({self.way})" if self.way else self.translator


def condition(row: Row) -> Condition:
    """Return the condition of a row; the tiling of a baseline is not part of it, because baselines have no seams."""
    way = (row.strategy, row.assembly) if row.kind == "network" else ("", "")
    dims = row.dims if row.kind == "network" else None
    return Condition(row.source, row.target, row.translator, row.kind, dims, *way)


def conditions(rows: Iterable[Row]) -> dict[Condition, list[Row]]:
    """Group rows by condition; within a direction the bound comes first, then baselines, then networks."""
    groups: dict[Condition, list[Row]] = {}
    for row in rows:
        groups.setdefault(condition(row), []).append(row)
    directions = list(dict.fromkeys(key.direction for key in groups))
    names = list(dict.fromkeys((*BASELINES, *(key.translator for key in groups))))
    strategies = list(dict.fromkeys((*REFERENCES, *(key.strategy for key in groups))))

    def place(key: Condition) -> tuple[object, ...]:
        return (
            directions.index(key.direction),
            ("bound", "baseline", "network").index(key.kind),
            names.index(key.translator),
            key.assembly,
            strategies.index(key.strategy),
        )

    return {key: groups[key] for key in sorted(groups, key=place)}


def training(row: Row) -> tuple[object, ...]:
    """Return the key of a row's training; rows of one training are not independent observations."""
    return row.source, row.target, row.translator, row.dims, row.seed


def by_training(rows: Iterable[Row]) -> dict[tuple[object, ...], list[Row]]:
    """Group rows by training."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(training(row), []).append(row)
    return groups


def reference(names: Iterable[str]) -> str:
    """Return the strategy with the fewest seams, the first one if none is known, and "" of no strategies."""
    names = list(names)
    return next((name for name in REFERENCES if name in names), names[0] if names else "")


def roles(rows: Sequence[Row], by: str, *, lowest: bool | None = None) -> dict[str, str]:
    """Return the role of each trial whose checkpoint is the best, middle or worst of its training, by trial name.

    If rows of a training have notes on `by`, the notes count: checkpoints may have been picked in each condition
    separately. Otherwise the checkpoints of a training are ranked once, by the volumes of its reference strategy, and
    all its strategies and assemblies are compared on the same checkpoints. If no volume has the value, the last
    checkpoint is the best. Baselines and bounds are always the best.
    """
    by_trial: dict[str, str] = {}
    for group in by_training(rows).values():
        noted = {row.trial: role for row in group for role in reversed(ROLES) if f"{role} by {by}" in _picked(row)}
        if group[0].kind != "network":
            by_trial.update({row.trial: "best" for row in group})
        elif noted:
            by_trial.update(noted)
        else:
            chosen = _chosen(group, by, lowest)
            by_trial.update({row.trial: chosen[row.checkpoint] for row in group if row.checkpoint in chosen})
    return by_trial


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


def with_role(rows: Iterable[Row], by_trial: dict[str, str], role: str = "best") -> list[Row]:
    """Return the rows with one role; `by_trial` is what `roles` returns."""
    return [row for row in rows if by_trial.get(row.trial) == role]


def first_name(rows: Iterable[Row], fits: Callable[[str], bool], preferred: Sequence[str] = ()) -> str:
    """Return the first of the preferred value names that a row has, else the first that fits, else ""."""
    known = dict.fromkeys(name for row in rows for name, value in row.values.items() if value.value is not None)
    return next((name for name in preferred if name in known), next(filter(fits, known), ""))


def fid_name(rows: Iterable[Row]) -> str:
    """Return the name of the FID to show: Inception in the xy plane, as in the paper, else another measured FID."""
    preferred = [f"distance/{network}/fid/xy" for network in ("inception", "encoder")]
    return first_name(rows, lambda name: name.startswith("distance/") and name.split("/")[2] == "fid", preferred)


def judges(rows: Iterable[Row], metric: str) -> list[tuple[str, str]]:
    """Return the segmenters, as `(name, seed)`, by which any row has a value of a metric."""
    pairs: dict[tuple[str, str], None] = {}
    for row in rows:
        for name in row.values:
            parts = name.split("/")
            if len(parts) == 4 and parts[0] == "segmentation" and parts[3] == metric:
                pairs[parts[1], parts[2]] = None
    return list(pairs)


def overlap(row: Row, metric: str = "iou") -> float | None:
    """Return the mean of a segmentation metric over segmenters and their seeds; None if there is none."""
    known = [
        value
        for name, seed in judges([row], metric)
        if (value := row.number(f"segmentation/{name}/{seed}/{metric}")) is not None
    ]
    return sum(known) / len(known) if known else None
