"""`vol2vol certify MODEL [VOLUME]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import some_of
from vol2vol.volumes import open_finished

if TYPE_CHECKING:
    from vol2vol.evaluation.certificate import Certificate


def run(words: list[str]) -> None:
    """Parse the command line and certify."""
    parse.call(_certify, words, "certify")


def _certify(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    volume: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="VOLUME")] = None,
    *,
    direction: parse.Name = "forward",
    checkpoint: parse.Name = "auto",
    trust: bool = False,
    statistics: Literal["calibrated", "tile"] = "calibrated",
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Test whether a model's tiles can be stitched without seams, and explain why not; the exit code is then 1.

    Args:
        model: a model, the folder of a run, a .pt2 file of torch.export or a model of bioimage.io (folder or zip).
        volume: volume from which the compared tiles are taken; without it they are noise.
        direction: which of the model's networks is tested.
        checkpoint: checkpoint of a run: best, last or epoch-0005; auto is the best if there is one, else the last.
        trust: read a .pt2 file or a model of bioimage.io, although reading it may execute code that it contains.
        statistics: statistics of normalisation, as in predict: those in the model, or those of each tile.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation import certify

    opened = None if volume is None else open_finished(volume, **about.keywords())
    certificate = certify(model, opened, direction=direction, which=checkpoint, trust=trust, statistics=statistics)
    if json:
        show.result(certificate.to_dict(), as_json=True)
    else:
        _print(certificate)
    if not certificate.stitchable:
        raise SystemExit(1)


def _print(certificate: Certificate) -> None:
    """Print the verdict, then the measurements in words; `--json` prints all numbers."""
    show.line(certificate.sentence)
    foot, tiles = certificate.footprint, certificate.mismatch
    for axis, spread in certificate.measured.items():
        sides = ((spread.before, "before"), (spread.after, "after"))
        context = " and ".join(f"{n} voxels {side} it" for n, side in sides if n is not None) or "the whole tile"
        period = "no period" if spread.period is None else f"a period of {spread.period} voxels"
        show.line(f"along {axis}: an output voxel needs {context}; the network has {period}")
    reach = ", ".join(f"{a} and {b}" for a, b in zip(*foot.reach, strict=True))
    show.line(f"plans assume a reach of {reach} voxels (before and after) and a period of {_listed(foot.period)}")
    if certificate.tile_dependent:
        show.line(f"normalised by the tile's own statistics: {some_of(certificate.tile_dependent, 3)}")
    show.line("differences in standard deviations of the output (0 is best):")
    rows = {
        "after changing voxels beyond the reach": tiles.far,
        "between two tiles one period apart": tiles.invariance,
        "between two tiles one voxel apart, out of phase": tiles.aliasing,
    }
    for what, value in rows.items():
        show.line(f"  {what}: {value:.2g}")
    show.line(f"compared on {certificate.data}; differences up to {certificate.rounding:g} count as rounding")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
