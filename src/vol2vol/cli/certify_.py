"""`vol2vol certify MODEL [VOLUME]`."""

from __future__ import annotations

from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.volumes import open_finished


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
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Measure whether a model's tiles can be stitched without seams, and say why not; exit code 1 where not.

    Args:
        model: a model, the folder of a run, a .pt2 file of torch.export or a model of bioimage.io (folder or zip).
        volume: volume from which the compared tiles are taken; noise where it is left out.
        direction: which of the model's networks is measured.
        checkpoint: of a run: best, last or epoch-0005; auto is the best that training judged, else the last.
        trust: read a .pt2 file or a model of bioimage.io, although reading may execute what is in it.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.recipes import certify

    opened = None if volume is None else open_finished(volume, **about.keywords())
    found = certify(model, opened, direction=direction, which=checkpoint, trust=trust)
    told: dict[str, Any] = found.to_dict()
    if not json:
        told["reasons"] = "; ".join(found.reasons) or "none"
    show.result(told, as_json=json)
    if not found.stitchable:
        raise SystemExit(1)
