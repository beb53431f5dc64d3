"""Tabulate the seams of every strategy by four tests, the loss of overlap near seams, and the change of FID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

from vol2vol.report.rows.conditions import Condition, condition, conditions, fid_name, reference, with_role
from vol2vol.report.rows.rows import Row, Value
from vol2vol.report.statistics.estimates import Judged
from vol2vol.report.tables.cells import (
    Cell,
    Column,
    Missing,
    Table,
    label,
    of_row,
    percent,
    probability,
    signed,
    with_interval,
)
from vol2vol.report.tables.measures import columns_of

TESTS = {"sgr": "S1", "sje": "S2", "hfr": "S3"}
AXES = "zyx"
ALPHA = 0.05


@dataclass(frozen=True)
class SeamResult:
    """Results of the seam tests of one volume."""

    row: Row

    def worst(self, test: str) -> tuple[float, str] | None:
        """Return the value of a test that is furthest from 1, by ratio, and its axis; None if it was not measured."""
        known = [(value, axis) for axis in AXES if (value := self.row.number(f"seams/{test}/{axis}")) is not None]
        return max(known, key=lambda pair: abs(log(pair[0])) if pair[0] > 0 else float("inf")) if known else None

    @property
    def p(self) -> float | None:
        """Smallest p of all tests, axes and passes, each corrected for their number; None if nothing was tested."""
        known = [
            value for test in TESTS for axis in AXES if (value := self.row.number(f"seams/{test}/{axis}/p")) is not None
        ]
        return min(known, default=None)

    @property
    def seam(self) -> bool | None:
        """Whether there is a seam; None if nothing was tested or the tests are undecided."""
        verdict = self.row.notes.get("seams/verdict", "")
        if verdict in ("undecided", "not tested"):
            return None
        return verdict == "seams" if verdict else None if self.p is None else self.p < ALPHA


def seam_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the seam statistics and the FID of every strategy's best checkpoint, one line per training.

    Values are ratios to the same statistic of planes without seams, so that 1 means no seams; p is two-sided.
    """
    fid, moved = fid_name(rows), columns_of("seams")
    shown = [row for row in with_role(rows, roles) if row.kind == "network" and _tested(row)]
    lines: list[list[Cell]] = []
    for row in shown:
        group, result = condition(row), SeamResult(row)
        lines.append([group.direction, group.name, row.seed, row.checkpoint])
        for test in TESTS:
            worst = result.worst(test)
            lines[-1] += [f"{worst[0]:.3f} ({worst[1]})" if worst else Missing("not tested")]
            lines[-1] += [of_row(row, f"seams/{test}/{axis}") for axis in AXES]
        lines[-1] += [result.p if result.p is not None else Missing("no p without enough planes")]
        lines[-1] += [of_row(row, name) for name in moved]
        lines[-1] += [of_row(row, fid)]
        lines[-1] += [row.notes.get("seams/verdict", ""), row.notes.get("seams", "")]
    return Table(
        name="seams",
        title="Seams and FID by strategy" if fid else "Seams by strategy",
        columns=_columns(moved),
        rows=lines,
        findings=_read(shown, fid),
        note=_note(any(row.number(name) is not None for row in shown for name in moved)),
    )


def _note(moved: bool) -> str:
    """Return the explanation of the columns, with that of S4 only if tiles were shifted."""
    s4 = (
        "S4 is the mean and largest change of the volume, in standard deviations, when its tiles are shifted by one "
        "period of the network; it is 0 if the position of tiles has no effect. The CSV also has the border and "
        "disparity of the network, measured on tiles of the training patch's size, as means over several places. "
    )
    return (
        "S1 measures edges (SGR), S2 intensity steps (SJE) and S3 averaging (HFR) at tile borders; all are 1 without "
        f"seams. The table shows the axis furthest from 1, the CSV all axes. {s4 if moved else ''}p is the smallest of "
        "all tests, axes and passes, corrected for their number; if it is small and the verdict is no seams, the "
        "source has the same pattern."
    )


def _columns(moved: Mapping[str, Column]) -> list[Column]:
    return [
        label("direction"),
        label("condition"),
        Column(name="seed", digits=1),
        Column(name="checkpoint", title="Epoch", digits=6),
        *(
            column
            for test, title in TESTS.items()
            for column in (
                Column(name=f"{test}_worst", title=f"{title} ({test.upper()})"),
                *(Column(name=f"{test}_{axis}", shown=False) for axis in AXES),
            )
        ),
        probability("p", "p, corrected"),
        *moved.values(),
        Column(name="fid", title="FID"),
        label("verdict"),
        Column(name="sentence", words=True, shown=False),
    ]


def near_table(rows: Sequence[Row], judged: Judged, roles: dict[str, str]) -> Table:
    """Return the loss of IoU near seams, per condition, over seeds."""
    lines: list[list[Cell]] = []
    by_translator: dict[str, list[str]] = {}
    for key, group in conditions(with_role(rows, roles)).items():
        loss = judged.pooled(group, "near_seam")
        if key.kind == "network" and loss.value is not None:
            seeds = len({row.seed for row in group})
            lines.append([key.direction, key.name, seeds, loss.interval(), *_beyond(group)])
            where = f"{key.direction}, {key.translator} ({key.assembly})"
            by_translator.setdefault(where, []).append(f"{key.strategy} {with_interval(loss.interval())}")
    findings = [
        f"{where}: IoU near seams minus elsewhere: {', '.join(parts)}." for where, parts in by_translator.items()
    ]
    return Table(
        name="near-seams",
        title="IoU near seams minus elsewhere",
        columns=[
            label("direction"),
            label("condition"),
            Column(name="seeds", title="Trainings", digits=1),
            signed("near_minus_elsewhere", "Near \N{MINUS SIGN} elsewhere"),
            signed("beyond_first", "Minus that of the first strategy"),
            label("below_zero", "Intervals below 0"),
        ],
        rows=lines,
        findings=findings,
        note="IoU is compared within a few voxels of the seams and elsewhere. The same difference on shifted grids "
        "without seams is subtracted, so that 0 means that seams cost nothing. Intervals resample blocks, and seeds "
        "if there are two or more. The value of the first strategy is measured at the same places; the difference is "
        "a mean over seeds, with the number of intervals below 0.",
    )


def _beyond(group: Sequence[Row]) -> list[Cell]:
    """Return the loss near seams minus that of the first strategy, and the number of intervals below 0."""
    known = [
        value
        for row in group
        for name, value in row.values.items()
        if name.endswith("/near_seam/against_first") and value.value is not None
    ]
    if not known:
        return [Missing("this is the first strategy, or it was not measured"), ""]
    if len(known) == 1:
        return [known[0], ""]
    below = sum(value.high is not None and value.high < 0 for value in known)
    return [sum(value.value or 0.0 for value in known) / len(known), f"{below} of {len(known)}"]


def _tested(row: Row) -> bool:
    return any(name.startswith(("seams/", "mismatch/")) for name in row.values) or "seams" in row.notes


def _read(rows: Sequence[Row], fid: str) -> list[str]:
    """Return a sentence per translator and assembly: which strategies have seams, and how FID changes."""
    groups: dict[Condition, list[Row]] = {}
    for row in rows:
        groups.setdefault(replace(condition(row), strategy=""), []).append(row)
    findings = []
    for key, group in groups.items():
        results = {row.strategy: SeamResult(row) for row in group if row.seed == group[0].seed}
        verdicts = {name: result.seam for name, result in results.items() if result.seam is not None}
        if not verdicts:
            continue
        seamed = [name for name, seam in verdicts.items() if seam]
        clean = [name for name, seam in verdicts.items() if not seam]
        parts = [f"seams are detected in {', '.join(seamed)}"] if seamed else ["no seams are detected"]
        parts += [f"none in {', '.join(clean)}"] if seamed and clean else []
        undecided = [name for name, result in results.items() if result.seam is None]
        parts += [f"the data do not suffice to decide in {', '.join(undecided)}"] if undecided else []
        parts += _tile_dependence(results)
        first = reference(results)
        changes = [_fid_change(results[first].row, results[name].row, fid) for name in results if name != first]
        known = [change for change in changes if change]
        parts += [f"FID minus that of {first}: {', '.join(known)}"] if known else []
        findings.append(f"{key.direction}, {key.name}: {'; '.join(parts)}.")
    return findings


def _tile_dependence(results: dict[str, SeamResult]) -> list[str]:
    """Return how much each strategy's volume depends on the position of its tiles, in words."""
    numbers = {name: result.row.number("mismatch/tile") for name, result in results.items()}
    known = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items() if value is not None)
    return [f"shifting the tiles changes the volume (standard deviations: {known})"] if known else []


def _fid_change(exact: Row, other: Row, fid: str) -> str:
    """Return the change of FID from one strategy to another, and whether it is significant, in words."""
    a, b = exact.number(fid), other.number(fid)
    if a is None or b is None:
        return ""
    ends = [exact.number(f"{fid}/{end}") for end in ("floor", "ceiling")]
    span = ends[1] - ends[0] if ends[0] is not None and ends[1] is not None else 0
    beyond = other.values.get(f"{fid}/against_first") or Value(value=b - a)
    share = f"{percent((beyond.value or 0.0) / span)} of the way from floor to ceiling" if span > 0 else ""
    verdict = ""
    if beyond.low is not None and beyond.high is not None:
        verdict = "worse" if beyond.low > 0 else "better" if beyond.high < 0 else "no different"
    notes = "; ".join(part for part in (verdict, share) if part)
    return f"{other.strategy} {with_interval(beyond, digits=2)}" + (f" ({notes})" if notes else "")
