"""The sentence that a seam report ends with."""

import pytest

from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.sentences import seam_sentence
from vol2vol.metrics.seams.verdicts import Equivalence, SeamReport, SeamRow


def row(axis, verdict="none found", test="SGR", **more):
    return SeamRow(axis=axis, test=test, verdict=verdict, **more)


@pytest.mark.parametrize(
    ("rows", "states", "message"),
    [
        ([row("y"), row("x")], "yy", "No seam found: seam-free within 1 %."),
        ([row("y"), row("x")], "uu", "too small or too noisy to exclude seams."),
        (
            [
                row("y"),
                row("x", "not tested", reason="1 seams on 9 voxels"),
                row("x", "not tested", "SJE", reason="1 s"),
            ],
            "yt",
            "No seam found: seam-free within 1 % along y; x not tested: 1 seams on 9 voxels",
        ),
        (
            [row("y", statistic=1.0321), row("x")],
            "nu",
            "No seam found: y differs by more than 1 % from seamless (SGR 1.032), but not significantly after "
            "correction; the volume is too small or too noisy to decide along x.",
        ),
        (
            [row("y", "in the source too", statistic=0.95), row("x")],
            "ny",
            "seam-free within 1 % along x; y differs by more than 1 % from seamless (SGR 0.95), as does the source.",
        ),
        (
            [row("y"), row("y", "not tested", "HFR", reason="too few planes"), row("x")],
            "yy",
            "No seam found: seam-free within 1 % along y, x; HFR of y not tested: too few planes.",
        ),
        ([row("y", "not tested", reason="small")] * 2, "tt", "Not tested: small."),
        ([row("y", "seam", statistic=2.0), row("x")], "ny", "Seams: y (SGR 2)."),
    ],
)
def test_the_sentence_tells_what_is_open_from_what_differs(rows, states, message):
    names = {"y": "yes", "n": "no", "u": "undecided", "t": "not tested"}
    shown = [
        Equivalence(axis=axis, seam_free=names[state], reason=next(r.reason for r in rows if r.axis in (axis, "y")))
        for axis, state in zip("yx", states, strict=True)
    ]
    shown.insert(0, Equivalence(axis="z", seam_free="not tested", tiled=False, reason="every plane is a tile"))
    rows = [row("z", "not tested", reason="every plane is a tile"), *rows]
    report = SeamReport(grid=Grid(step=(1, 9, 9)), margin=0.01, alpha=0.05, rows=tuple(rows), equivalence=tuple(shown))
    assert message in seam_sentence(report)
