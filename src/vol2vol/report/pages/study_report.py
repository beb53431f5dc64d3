"""The report of a study: every question with its answer in sentences, its table and its figures, on one page."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import vol2vol
from vol2vol.errors import BadInput, UserError
from vol2vol.report.figures import plots
from vol2vol.report.figures import segmentations as segmented
from vol2vol.report.figures import translations as translated
from vol2vol.report.figures.panels import Sheet, Shown
from vol2vol.report.pages.html import render, write_page
from vol2vol.report.rows import wording
from vol2vol.report.rows.conditions import condition, fid_name, roles, with_role
from vol2vol.report.rows.declared import Declared, read_declared
from vol2vol.report.rows.rows import REPORT, ROWS, Row, read_rows
from vol2vol.report.statistics.estimates import Judged
from vol2vol.report.tables.agreement import agreement, picks_table
from vol2vol.report.tables.baselines_and_bound import baselines_and_bound
from vol2vol.report.tables.cells import TABLES, Table, write_tables
from vol2vol.report.tables.claims import claims
from vol2vol.report.tables.contrasts import Contrast, contrast_table, contrasts
from vol2vol.report.tables.costs import cost_table
from vol2vol.report.tables.headlines import paper_tables
from vol2vol.report.tables.measures import fidelity_table, further_table, object_table
from vol2vol.report.tables.seam_table import near_table, seam_table
from vol2vol.volumes.addresses import local_path

log = logging.getLogger(__name__)
FIRST = 3
"""Findings of a question that stand on top of the page, if it has more."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question."""

    anchor: str
    title: str
    text: str = ""
    points: Sequence[str] = ()
    """What words of its tables and figures mean, a sentence each."""
    tables: Sequence[Table] = ()
    charts: Sequence[Shown] = ()
    sheets: Sequence[Sheet] = ()
    folded: bool = False
    """Tables are shown on demand."""
    first: int = FIRST
    """Findings on top of the page."""

    @property
    def findings(self) -> list[str]:
        """The sentences of its tables."""
        return [one for table in self.tables for one in table.findings]

    def __bool__(self) -> bool:
        return any(map(bool, self.tables)) or bool(self.charts) or bool(self.sheets)


@dataclass(frozen=True)
class Material:
    """All that sections are made of."""

    folder: Path
    declared: Declared
    rows: list[Row]
    """Done ones."""
    judged: Judged
    roles: dict[str, str]
    contrasts: list[Contrast] = field(default_factory=list)


def write_study_report(folder: str | Path) -> Path:
    """Write `tables/*.csv` and `report.html` of a study from its rows, and return the page's path.

    A study that is half done gives what there is; failed trials are listed with their reasons. Needs no network, and
    the volumes only for pictures: what is no longer there is not shown. Raises `NotFound` without a rows file and
    `BadInput` for an empty or a foreign one.
    """
    folder = local_path(folder, "a study")
    rows = read_rows(folder)
    if not rows:
        raise BadInput(f"{folder / ROWS} is empty: no trial is over yet")
    declared = read_declared(folder)
    done = [row for row in rows if row.status == "done"]
    by, lowest = declared.picks[0] if declared.picks else (fid_name(done), True)
    judged, chosen = Judged(folder), roles(done, by, lowest=lowest)
    material = Material(folder, declared, done, judged, chosen, contrasts(done, judged, chosen))
    sections = [section for make in SECTIONS if (section := make(material))]
    write_tables(folder, [table for section in sections for table in section.tables])
    failed = [row for row in rows if row.status == "failed"]
    return write_page(folder / REPORT, _page(declared, sections, done, failed, by=by))


def _page(declared: Declared, sections: Sequence[Section], done: list[Row], failed: list[Row], *, by: str) -> str:
    return render(
        "study.html",
        study=declared,
        sections=sections,
        done=done,
        failed=failed,
        by=by,
        directions=list(dict.fromkeys(condition(row).direction for row in [*done, *failed])),
        tables=TABLES,
        provenance=[f"vol2vol {vol2vol.__version__}", f"Python {platform.python_version()}"],
    )


def _gain(m: Material) -> Section:
    return Section(
        anchor="gain",
        title="Does translating help?",
        text="A segmenter that was trained on the target sees the source: as it is, made alike by simple means, and "
        "translated. The segmenter of the source's own domain is the upper bound.",
        tables=[baselines_and_bound(m.rows, m.judged, m.roles)],
    )


def _seams(m: Material) -> Section:
    networks = [row for row in m.rows if row.kind == "network"]
    names = dict.fromkeys([*(row.strategy for row in networks), *(row.assembly for row in networks)])
    return Section(
        anchor="seams",
        title="Are there seams, and does FID see them?" if fid_name(m.rows) else "Are there seams?",
        text="A volume passes through a network in tiles, and where tiles meet a seam can show. Pictures show the same "
        "plane of each strategy, then its difference from A. Marks at their edges show where tiles meet: a line from "
        "mark to mark is a seam. A difference that fills whole tiles evenly is no seam: it comes from where tiles lie "
        "on the grid of the network's strides.",
        points=[f"{name}: {meaning}." for name in names if (meaning := wording.MEANINGS.get(name))],
        tables=[seam_table(m.rows, m.roles), near_table(m.rows, m.judged, m.roles)],
        sheets=_shown(
            lambda: [s for rows in _by_direction(m) for pair in translated.residuals(m.folder, rows) for s in pair if s]
        ),
    )


def _contrasts(m: Material) -> Section:
    return Section(
        anchor="contrasts",
        title="What makes a difference?",
        text="Dots are differences of IoU with intervals of 95 %, first minus second; full dots are more than chance "
        "after correction for all of a kind. Middle and worst are checkpoints.",
        tables=[contrast_table(m.contrasts)],
        charts=plots.contrast_plot(m.contrasts),
        folded=True,
    )


def _claims(m: Material) -> Section:
    return Section(
        anchor="claims",
        title="Which findings of the stitching paper hold here?",
        tables=[claims(m.rows, m.roles, m.contrasts)],
        first=99,
    )


def _agreement(m: Material) -> Section:
    rules = list(dict.fromkeys([*m.declared.picks, (fid_name(m.rows), True)]))
    return Section(
        anchor="agreement",
        title="Which number, that needs no labels, ranks translations as segmentation does?",
        tables=[agreement(m.rows), picks_table(m.rows, [rule for rule in rules if rule[0]])],
        charts=plots.metrics_and_iou(m.rows),
        folded=True,
    )


def _costs(m: Material) -> Section:
    return Section(
        anchor="cost",
        title="What does it cost?",
        tables=[cost_table(m.rows, m.roles)],
        charts=plots.cost_and_quality(m.rows, m.judged, m.roles),
    )


def _checkpoints(m: Material) -> Section:
    return Section(
        anchor="checkpoints",
        title="How do checkpoints differ? (Fig. 5 and Tables 1 to 11 of the stitching paper)",
        tables=paper_tables(m.rows),
        charts=plots.fid_by_checkpoint(m.rows),
        folded=True,
    )


def _look(m: Material) -> Section:
    sheets = _shown(lambda: [s for rows in _by_direction(m) if (s := translated.overview(m.folder, rows))])
    return Section(
        anchor="look",
        title="What do translations look like? (Fig. 2)",
        text="The same place in all, on one grey range; the target is another place: compare its look, not its shapes.",
        tables=[fidelity_table(m.rows, m.roles)],
        sheets=sheets,
    )


def _trainings(m: Material) -> Section:
    return Section(
        anchor="trainings",
        title="How did trainings go?",
        text="Losses of every training. Where two networks work against each other (generators and critics), neither "
        "loss goes to zero.",
        charts=_shown(lambda: plots.loss_curves(m.folder, m.rows)),
    )


def _further(m: Material) -> Section:
    return Section(anchor="further", title="What do further measures say?", tables=[further_table(m.rows, m.roles)])


def _masks(m: Material) -> Section:
    def made() -> list[Sheet]:
        across = [s for rows in _by_direction(m) for s in segmented.strategies_sheets(m.folder, rows)]
        every = [[row for row in m.rows if condition(row).direction == d] for d in _directions(m.rows)]
        fid = fid_name(m.rows)
        return across + [s for rows in every for s in segmented.checkpoint_sheets(m.folder, rows, m.roles, fid)]

    return Section(
        anchor="masks",
        title="What do segmenters make of them? (Figs. 3 and 4)",
        text="Masks: white is right, magenta is foreground that is none, blue is missed. Marks at the edge of a "
        "picture show where tiles meet.",
        tables=[object_table(m.rows, m.roles)],
        sheets=_shown(made),
        folded=True,
    )


SECTIONS: tuple[Callable[[Material], Section], ...] = (
    _gain,
    _claims,
    _look,
    _contrasts,
    _seams,
    _masks,
    _further,
    _agreement,
    _costs,
    _checkpoints,
    _trainings,
)


def _directions(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(condition(row).direction for row in rows))


def _by_direction(m: Material) -> list[list[Row]]:
    """Return the rows of each direction's best checkpoints."""
    best = with_role(m.rows, m.roles)
    return [[row for row in best if condition(row).direction == name] for name in _directions(best)]


def _shown(make: Callable[[], list[T]]) -> list[T]:
    """Make pictures; volumes that cannot be read leave them out, for numbers need none."""
    try:
        return make()
    except (UserError, OSError) as error:
        log.warning("pictures were left out: %s", error)
        return []
