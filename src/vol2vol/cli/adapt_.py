"""`vol2vol adapt MODEL VOLUME ... OUT`."""

from __future__ import annotations

from typing import Annotated

import tyro

from vol2vol.cli import parse, show
from vol2vol.recipes import adapt_statistics


def run(words: list[str]) -> None:
    """Parse the command line and adapt."""
    parse.call(_adapt, words, "adapt")


def _adapt(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    volume: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VOLUME")],
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    *,
    direction: parse.Name = "forward",
    checkpoint: parse.Name = "auto",
    patches: int = 64,
    intensity: bool = False,
    about: parse.MetadataOptions = parse.NO_METADATA,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Re-measure the statistics of a model's normalisation on another domain (AdaBN); its weights do not change.

    Args:
        model: a model, or the folder of a run.
        volume: a volume of the other domain, without labels.
        out: folder of the new model.
        direction: which of the model's networks reads the volume.
        checkpoint: checkpoint of a run: best, last or epoch-0005; auto is the best if there is one, else the last.
        patches: number of patches, spread over the volume, on which statistics are measured.
        intensity: also re-measure the intensity normalisation, for volumes whose grey values have another range.
        about: metadata missing from the volume files.
        overwrite: replace a model that exists.
        json: print the result as JSON.
    """
    bundle = adapt_statistics(
        model,
        volume,
        out,
        direction=direction,
        which=checkpoint,
        patches=patches,
        intensity=intensity,
        **about.keywords(),
        overwrite=overwrite,
    )
    show.result({"model": str(bundle)}, as_json=json)
