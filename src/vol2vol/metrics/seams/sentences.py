"""Summarise the results of seam tests in a sentence."""

from __future__ import annotations

from vol2vol.metrics.seams.unknown_grid import CombReport
from vol2vol.metrics.seams.verdicts import SeamReport


def seam_sentence(report: SeamReport | CombReport) -> str:
    """Return one sentence that summarises a report."""
    if isinstance(report, CombReport):
        return _comb_sentence(report)
    hits = [f"{row.axis} ({row.test} {row.statistic:.4g})" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    tiled = [axis for axis in report.equivalence if axis.tiled]
    if report.verdict == "not tested":
        reasons = [axis.reason for axis in tiled or report.equivalence]
        return f"Not tested: {'; '.join(dict.fromkeys(reasons))}."
    gaps = _untested(report)
    if {axis.seam_free for axis in tiled} == {"undecided"} and not gaps:
        return "No seam found, but the volume is too small or too noisy to exclude seams."
    if {axis.seam_free for axis in tiled} == {"yes"} and not gaps:
        return f"No seam found: {report.verdict}."
    return f"No seam found: {'; '.join([*_shown(report), *gaps])}."


def _comb_sentence(report: CombReport) -> str:
    hits = [f"every {row.step} voxels along {row.axis}" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    if report.verdict == "none found":
        return "No regular seams found; this blind test is less sensitive than a test on a known grid."
    return f"Not tested: {'; '.join(dict.fromkeys(row.reason for row in report.rows))}."


def _shown(report: SeamReport) -> list[str]:
    """Return phrases that name the axes that are shown to be seam-free, those that are not, and the undecided ones."""
    within, axes = (
        f"{100 * report.margin:g} %",
        {result.axis: result.seam_free for result in report.equivalence if result.tiled},
    )
    free, open_ = (", ".join(axis for axis in axes if axes[axis] == state) for state in ("yes", "undecided"))
    phrases = [f"seam-free within {within} along {free}"] if free else []
    for row in (report.row(axis, "SGR") for axis in axes if axes[axis] == "no"):
        far = f"{row.axis} differs by more than {within} from seamless (SGR {row.statistic:.4g})"
        shared = row.verdict == "in the source too"
        phrases.append(f"{far}, as does the source" if shared else f"{far}, but not significantly after correction")
    return [*phrases, f"the volume is too small or too noisy to decide along {open_}"] if open_ else phrases


def _untested(report: SeamReport) -> list[str]:
    """Return phrases that name the tests and tiled axes that were not tested, with the reasons."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for result in report.equivalence:
        rows = [row for row in report.rows if row.axis == result.axis and row.verdict == "not tested"]
        for row in rows if result.tiled else []:
            test = "" if result.seam_free == "not tested" else f"{row.test} of "
            if result.axis not in gaps.setdefault((test, row.reason), []):
                gaps[test, row.reason].append(result.axis)
    return [f"{test}{', '.join(axes)} not tested: {reason}" for (test, reason), axes in gaps.items()]
