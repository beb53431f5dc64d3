"""`vol2vol evaluate circles OUTPUT ... --labels LABELS ...`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from vol2vol.cli import parse, seams_, show
from vol2vol.volumes import Volume, open_together
from vol2vol.volumes.imagesets import images_under

Outputs = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT ...")]
Number = Annotated[float | None, tyro.conf.arg(metavar="VALUE")]


@dataclass(frozen=True)
class Shown:
    """When a circle has a colour."""

    level: Number = None
    """brightness above which a voxel has the colour of its channel, 0 to 1 of the full scale (60/255 unless given)."""
    least: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None
    """connected voxels that a colour takes more than (30 of the 1245 of a circle unless given)."""
    smoothing: Number = None
    """radius in voxels over which brightness is averaged before (2 unless given)."""
    margin: Number = None
    """voxels along the edge of circles that are left out (2 unless given)."""


_PUBLISHED = Shown()


def circles(
    outputs: Outputs,
    *,
    labels: parse.Paths,
    shown: tyro.conf.OmitArgPrefixes[Shown] = _PUBLISHED,
    inner: bool = False,
    step: parse.VoxelSize = None,
    origin: parse.VoxelSize = None,
    period: parse.VoxelSize = None,
    planes: bool = False,
    rows: parse.Text = None,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Count circles that have several colours, or not exactly one: where tiles did not agree.

    Args:
        outputs: predicted images; 'out/*' stands for all of a folder.
        labels: the label images of the circles, one for each output, in the same order.
        shown: when a circle has a colour.
        inner: leave out circles that touch the border of an image.
        step: distance between tiles in voxels, where the outputs do not state it.
        origin: with --step, the voxel at which the first tile starts.
        period: total stride of the network in voxels, to say whether place modulo it predicts colour; read from the
            outputs' records unless given.
        planes: each plane Z of an output is an image of its own.
        rows: write a row per circle to this file, .csv or .json.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.circles import evaluate_circles
    from vol2vol.metrics.objects.colours import Colouring
    from vol2vol.schemas import checked

    how = checked(Colouring, {key: value for key, value in vars(shown).items() if value is not None}, "the metric")
    pictures, numbered = (_opened(paths, about) for paths in (outputs, labels))
    places = {"grid": seams_.grid_of(step, origin), "period": period and seams_.voxels(period, "--period")}
    result = evaluate_circles(pictures, numbered, how=how, border=not inner, planes=planes, rows=rows, **places)
    show.result(result, as_json=json)


def _opened(paths: tuple[str, ...], about: parse.Metadata) -> list[Volume]:
    return open_together([path for each in paths for path in images_under(each, about.pattern)], **about.keywords())
