"""What tests for seams found, in a sentence."""

from __future__ import annotations

from vol2vol.metrics.seams.unknown_grid import CombReport
from vol2vol.metrics.seams.verdicts import SeamReport


def seam_sentence(report: SeamReport | CombReport) -> str:
    """Say in one sentence what the tests found."""
    if isinstance(report, CombReport):
        return _comb_sentence(report)
    hits = [f"{row.axis} ({row.test} {row.statistic:.4g})" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    tiled = [one for one in report.equivalence if one.tiled]
    if report.verdict == "not tested":
        reasons = [one.reason for one in tiled or report.equivalence]
        return f"Not tested: {'; '.join(dict.fromkeys(reasons))}."
    gaps = _untested(report)
    if {one.seam_free for one in tiled} == {"undecided"} and not gaps:
        return "No seam found, but the volume is too small or too noisy to show that there is none."
    if {one.seam_free for one in tiled} == {"yes"} and not gaps:
        return f"No seam found: {report.verdict}."
    return f"No seam found: {'; '.join([*_shown(report), *gaps])}."


def _comb_sentence(report: CombReport) -> str:
    hits = [f"every {row.step} voxels along {row.axis}" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    if report.verdict == "none found":
        return "No regular seams found; the blind test is weaker than one that knows the tiles."
    return f"Not tested: {'; '.join(dict.fromkeys(row.reason for row in report.rows))}."


def _shown(report: SeamReport) -> list[str]:
    """Say of which axes it is shown that they have no seam, which differ nevertheless, and which are open."""
    within, axes = f"{100 * report.margin:g} %", {one.axis: one.seam_free for one in report.equivalence if one.tiled}
    free, open_ = (", ".join(axis for axis in axes if axes[axis] == state) for state in ("yes", "undecided"))
    told = [f"seam-free within {within} along {free}"] if free else []
    for row in (report.row(axis, "SGR") for axis in axes if axes[axis] == "no"):
        far = f"{row.axis} is more than {within} from seamless (SGR {row.statistic:.4g})"
        shared = row.verdict == "in the source too"
        told.append(f"{far}, as the source is" if shared else f"{far}, but not significantly among all tests")
    return [*told, f"too small or too noisy to tell along {open_}"] if open_ else told


def _untested(report: SeamReport) -> list[str]:
    """Say which axes across which tiles meet were not tested, and which tests of the others, with the reasons."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for one in report.equivalence:
        rows = [row for row in report.rows if row.axis == one.axis and row.verdict == "not tested"]
        for row in rows if one.tiled else []:
            test = "" if one.seam_free == "not tested" else f"{row.test} of "
            if one.axis not in gaps.setdefault((test, row.reason), []):
                gaps[test, row.reason].append(one.axis)
    return [f"{test}{', '.join(axes)} not tested: {reason}" for (test, reason), axes in gaps.items()]
