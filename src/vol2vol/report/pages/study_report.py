"""Write the report of a study: a page of questions, each answered in sentences, a table and figures."""

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
"""Largest number of findings per question at the top of the page."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question of the report."""

    anchor: str
    title: str
    text: str = ""
    points: Sequence[str] = ()
    """Sentences that explain terms of the tables and figures."""
    tables: Sequence[Table] = ()
    charts: Sequence[Shown] = ()
    sheets: Sequence[Sheet] = ()
    folded: bool = False
    """Whether tables are collapsed until the reader opens them."""
    first: int = FIRST
    """Number of findings at the top of the page."""

    @property
    def findings(self) -> list[str]:
        """The findings of all tables."""
        return [finding for table in self.tables for finding in table.findings]

    def __bool__(self) -> bool:
        return any(map(bool, self.tables)) or bool(self.charts) or bool(self.sheets)


@dataclass(frozen=True)
class Material:
    """The study, and what is computed from its rows for all sections."""

    folder: Path
    declared: Declared
    rows: list[Row]
    """Rows of trials that are done."""
    judged: Judged
    roles: dict[str, str]
    contrasts: list[Contrast] = field(default_factory=list)


def write_study_report(folder: str | Path) -> Path:
    """Write `tables/*.csv` and `report.html` of a study from its rows, and return the path of the page.

    The report of an unfinished study has the trials done so far; failed trials are listed with their reasons. No
    network is needed, and volumes are read only for pictures, which are left out if the volumes no longer exist. Raises
    `NotFound` without a rows file, and `BadInput` if it is empty or damaged.
    """
    folder = local_path(folder, "a study")
    rows = read_rows(folder)
    if not rows:
        raise BadInput(f"{folder / ROWS} is empty: run the study until a trial is done")
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
        title="Does translation help?",
        text="A segmenter trained on the target domain segments the source volume: untranslated, after simple "
        "matching of grey values, and translated. A segmenter trained on the source domain is the upper bound.",
        tables=[baselines_and_bound(m.rows, m.judged, m.roles)],
    )


def _seams(m: Material) -> Section:
    networks = [row for row in m.rows if row.kind == "network"]
    names = dict.fromkeys([*(row.strategy for row in networks), *(row.assembly for row in networks)])
    return Section(
        anchor="seams",
        title="Are there seams, and does FID see them?" if fid_name(m.rows) else "Are there seams?",
        text="A network translates a volume in tiles, and seams can appear where tiles meet. The pictures show the "
        "same plane for each strategy, then its difference from A. Marks at the edges show where tiles meet; a line "
        "between two marks is a seam. A difference that is even within whole tiles is not a seam: it depends on the "
        "position of the tiles relative to the network's period.",
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
        text="Dots are differences of IoU, first minus second, with 95 % intervals. Filled dots are significant after "
        "correction for all contrasts of their kind. Middle and worst refer to checkpoints.",
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
        title="Which label-free metric ranks translations as segmentation does?",
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
        text="All volumes are shown at the same place and on one grey range, except the target, which shows another "
        "place: compare its appearance, not its structures.",
        tables=[fidelity_table(m.rows, m.roles)],
        sheets=sheets,
    )


def _trainings(m: Material) -> Section:
    return Section(
        anchor="trainings",
        title="How did the trainings converge?",
        text="The losses of every training. If two networks are trained against each other (generators and critics), "
        "neither loss goes to zero.",
        charts=_shown(lambda: plots.loss_curves(m.folder, m.rows)),
    )


def _further(m: Material) -> Section:
    return Section(anchor="further", title="What do further measures show?", tables=[further_table(m.rows, m.roles)])


def _masks(m: Material) -> Section:
    def sheets() -> list[Sheet]:
        across = [s for rows in _by_direction(m) for s in segmented.strategies_sheets(m.folder, rows)]
        every = [[row for row in m.rows if condition(row).direction == d] for d in _directions(m.rows)]
        fid = fid_name(m.rows)
        return across + [s for rows in every for s in segmented.checkpoint_sheets(m.folder, rows, m.roles, fid)]

    return Section(
        anchor="masks",
        title="How are the translations segmented? (Figs. 3 and 4)",
        text="In masks, correct foreground is white, false foreground magenta and missed foreground blue. Marks at the "
        "edges of a picture show where tiles meet.",
        tables=[object_table(m.rows, m.roles)],
        sheets=_shown(sheets),
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
    """Return the pictures that `make` draws; [] with a warning if a volume cannot be read."""
    try:
        return make()
    except (UserError, OSError) as error:
        log.warning("pictures were left out of the report: %s", error)
        return []
