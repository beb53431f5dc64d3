"""`vol2vol certify MODEL [VOLUME]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.volumes import open_finished

if TYPE_CHECKING:
    from vol2vol.evaluation.certificate import Certificate


def run(words: list[str]) -> None:
    """Parse the command line and certify."""
    parse.call(_certify, words, "certify")


def _certify(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    volume: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[VOLUME]")] = None,
    *,
    direction: str = "forward",
    checkpoint: str = "auto",
    trust: bool = False,
    statistics: Literal["calibrated", "tile"] = "calibrated",
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Measure whether a model's tiles can be stitched without seams, and say why not; exit code 1 where not.

    Args:
        model: a model, the folder of a run, a .pt2 file of torch.export or a model of bioimage.io (folder or zip).
        volume: volume from which the compared tiles are taken; noise where it is left out.
        direction: which of the model's networks is measured.
        checkpoint: of a run: best, last or epoch-0005; auto is the best that training judged, else the last.
        trust: read a .pt2 file or a model of bioimage.io, although reading may execute code in it.
        statistics: as predict --statistics: those in the model, or those of each tile, as published code predicts.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation import certify

    opened = None if volume is None else open_finished(volume, **about.keywords())
    found = certify(model, opened, direction=direction, which=checkpoint, trust=trust, statistics=statistics)
    if json:
        show.result(found.to_dict(), as_json=True)
    else:
        _print(found)
    if not found.stitchable:
        raise SystemExit(1)


def _print(found: Certificate) -> None:
    """Print the verdict, then what was measured, in words; `--json` has every number."""
    show.line(found.sentence)
    foot, tiles = found.footprint, found.mismatch
    for axis, spread in found.measured.items():
        seen = [
            f"{n} voxels {side}" for n, side in ((spread.before, "before"), (spread.after, "after")) if n is not None
        ]
        repeats = "no period" if spread.period is None else f"a period of {spread.period}"
        show.line(f"along {axis}: an output needs {' and '.join(seen) or 'the whole tile'}, {repeats}")
    reach = ", ".join(f"{a} and {b}" for a, b in zip(*foot.reach, strict=True))
    show.line(f"plans rely on: reach {reach} (before and after), period {', '.join(map(str, foot.period))}")
    if found.tile_dependent:
        names = ", ".join(found.tile_dependent[:3])
        more = len(found.tile_dependent) - 3
        show.line(f"normalised by the tile's own statistics: {names}{f' and {more} more' if more > 0 else ''}")
    show.line("differences, in standard deviations of the output (0 is best):")
    rows = {
        "what voxels beyond the reach change": tiles.far,
        "two tiles one period apart": tiles.invariance,
        "two tiles one voxel apart, out of phase": tiles.aliasing,
    }
    for what, value in rows.items():
        show.line(f"  {what}: {value:.2g}")
    show.line(f"compared on {found.data}; up to {found.rounding:g} counts as rounding")
