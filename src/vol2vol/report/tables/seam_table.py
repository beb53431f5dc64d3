"""Seams of every strategy by four tests, what they cost near them, and whether FID sees any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    said,
    signed,
)
from vol2vol.report.tables.measures import columns_of

TESTS = {"sgr": "S1", "sje": "S2", "hfr": "S3"}
AXES = "zyx"
ALPHA = 0.05


@dataclass(frozen=True)
class Found:
    """What the tests say of one volume."""

    row: Row

    def worst(self, test: str) -> tuple[float, str] | None:
        """Return the value furthest from 1, by ratio, and its axis."""
        known = [(value, axis) for axis in AXES if (value := self.row.number(f"seams/{test}/{axis}")) is not None]
        return max(known, key=lambda one: abs(log(one[0])) if one[0] > 0 else float("inf")) if known else None

    @property
    def p(self) -> float | None:
        """Smallest p of all tests, axes and passes, which are corrected for their number already."""
        known = [
            value for test in TESTS for axis in AXES if (value := self.row.number(f"seams/{test}/{axis}/p")) is not None
        ]
        return min(known, default=None)

    @property
    def seam(self) -> bool | None:
        """Whether there is one; None where nothing was tested or the tests cannot tell."""
        told = self.row.notes.get("seams/verdict", "")
        if told in ("undecided", "not tested"):
            return None
        return told == "seams" if told else None if self.p is None else self.p < ALPHA


def seam_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the seam statistics of every strategy's best checkpoint, one line per training, FID beside.

    Values are ratios to what the same planes would be without seams, 1 where there are none; p is two-sided.
    """
    fid, moved = fid_name(rows), columns_of("seams")
    shown = [row for row in with_role(rows, roles) if row.kind == "network" and _tested(row)]
    lines: list[list[Cell]] = []
    for row in shown:
        one, found = condition(row), Found(row)
        lines.append([one.direction, one.name, row.seed, row.checkpoint])
        for test in TESTS:
            worst = found.worst(test)
            lines[-1] += [f"{worst[0]:.3f} ({worst[1]})" if worst else Missing("not tested")]
            lines[-1] += [of_row(row, f"seams/{test}/{axis}") for axis in AXES]
        lines[-1] += [found.p if found.p is not None else Missing("no p without enough planes")]
        lines[-1] += [of_row(row, name) for name in moved]
        lines[-1] += [of_row(row, fid)]
        lines[-1] += [row.notes.get("seams/verdict", ""), row.notes.get("seams", "")]
    return Table(
        name="seams",
        title="Seams by strategy, and FID beside" if fid else "Seams by strategy",
        columns=_columns(moved),
        rows=lines,
        findings=_read(shown, fid),
        note=_note(any(row.number(name) is not None for row in shown for name in moved)),
    )


def _note(moved: bool) -> str:
    """Say what the columns mean; those of S4 only where tiles were moved."""
    s4 = (
        "S4: how much the volume changes, on average and at most, in standard deviations, when its tiles are moved by "
        "one period of the network; 0 where they do not matter. The network's border and disparity, in the CSV, are of "
        "tiles of the training patch's size, means over several places. "
    )
    return (
        "S1 edges (SGR), S2 steps of tone (SJE), S3 averaging (HFR): 1 without seams; shown is the axis furthest "
        f"from 1, all are in the CSV. {s4 if moved else ''}p is the smallest of all tests, axes and passes, corrected "
        "for their number; where it is small without seams, the source has the same."
    )


def _columns(moved: Mapping[str, Column]) -> list[Column]:
    return [
        label("direction"),
        label("condition"),
        Column(name="seed", digits=1),
        Column(name="checkpoint", title="Epoch", digits=6),
        *(
            column
            for test, called in TESTS.items()
            for column in (
                Column(name=f"{test}_worst", title=f"{called} ({test.upper()})"),
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
    """Return what overlap loses near seams, per condition, over seeds."""
    lines: list[list[Cell]] = []
    told: dict[str, list[str]] = {}
    for one, group in conditions(with_role(rows, roles)).items():
        found = judged.pooled(group, "near_seam")
        if one.kind == "network" and found.value is not None:
            lines.append([one.direction, one.name, len({row.seed for row in group}), found.interval(), *_beyond(group)])
            where = f"{one.direction}, {one.translator} ({one.assembly})"
            told.setdefault(where, []).append(f"{one.strategy} {said(found.interval())}")
    findings = [f"{where}: IoU near seams minus elsewhere: {', '.join(parts)}." for where, parts in told.items()]
    return Table(
        name="near-seams",
        title="IoU within a few voxels of the seams, minus elsewhere",
        columns=[
            label("direction"),
            label("condition"),
            Column(name="seeds", title="Trainings", digits=1),
            signed("near_minus_elsewhere", "Near \N{MINUS SIGN} elsewhere"),
            signed("beyond_first", "The same, beyond the first strategy"),
            label("below_zero", "Intervals below 0"),
        ],
        rows=lines,
        findings=findings,
        note="The same difference for grids that lie where no seams are is subtracted: 0 means that seams cost "
        "nothing. Blocks are drawn for the interval, and seeds where there are two or more. Beyond the first "
        "strategy: minus what its volume does at the same places, mean of all seeds, and how many of their intervals "
        "are below 0.",
    )


def _beyond(group: Sequence[Row]) -> list[Cell]:
    """Return overlap near seams beyond that of the first strategy, and how many intervals are below 0."""
    known = [
        value
        for row in group
        for name, value in row.values.items()
        if name.endswith("/near_seam/against_first") and value.value is not None
    ]
    if not known:
        return [Missing("is the first strategy, or not measured"), ""]
    if len(known) == 1:
        return [known[0], ""]
    below = sum(value.high is not None and value.high < 0 for value in known)
    return [sum(value.value or 0.0 for value in known) / len(known), f"{below} of {len(known)}"]


def _tested(row: Row) -> bool:
    return any(name.startswith(("seams/", "mismatch/")) for name in row.values) or "seams" in row.notes


def _read(rows: Sequence[Row], fid: str) -> list[str]:
    """Say, per translator and assembly, in which strategies there are seams and what FID makes of them."""
    groups: dict[Condition, list[Row]] = {}
    for row in rows:
        one = condition(row)
        groups.setdefault(Condition(**{**vars(one), "strategy": ""}), []).append(row)
    found = []
    for one, group in groups.items():
        seen = {row.strategy: Found(row) for row in group if row.seed == group[0].seed}
        verdicts = {name: f.seam for name, f in seen.items() if f.seam is not None}
        if not verdicts:
            continue
        seamed = [name for name, seam in verdicts.items() if seam]
        clean = [name for name, seam in verdicts.items() if not seam]
        told = [f"seams are found in {', '.join(seamed)}"] if seamed else ["no seams are found"]
        told += [f"none in {', '.join(clean)}"] if seamed and clean else []
        open_ = [name for name, f in seen.items() if f.seam is None]
        told += [f"too little data to tell in {', '.join(open_)}"] if open_ else []
        told += _moves(seen)
        first = reference(seen)
        moved = [text for name in seen if name != first and (text := _moved(seen[first].row, seen[name].row, fid))]
        told += [f"FID minus that of {first}: {', '.join(moved)}"] if moved else []
        found.append(f"{one.direction}, {one.name}: {'; '.join(told)}.")
    return found


def _moves(seen: dict[str, Found]) -> list[str]:
    """Say how far each strategy's volume depends on where its tiles lie."""
    known = {name: value for name, found in seen.items() if (value := found.row.number("mismatch/tile")) is not None}
    told = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
    return [f"moving the tiles changes it by so many standard deviations: {told}"] if known else []


def _moved(exact: Row, other: Row, fid: str) -> str:
    """Say how far FID moves from one strategy to another, and whether that is more than chance."""
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
    return f"{other.strategy} {said(beyond, digits=2)}" + (f" ({notes})" if notes else "")
