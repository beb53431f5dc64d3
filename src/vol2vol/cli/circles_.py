"""`vol2vol evaluate circles|stripes OUTPUT ... --labels LABELS ...`."""

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
    """Criteria for the colour of a circle."""

    level: Number = None
    """brightness above which a voxel has the colour of its channel, from 0 to 1 of the full scale (default: 60/255)."""
    least: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None
    """number of connected voxels that a colour must exceed (default: 30 of the 1245 of a circle)."""
    smoothing: Number = None
    """radius in voxels over which brightness is averaged first (default: 2)."""
    margin: Number = None
    """width in voxels of the rim of circles that is left out (default: 2)."""


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
    rows: parse.File = None,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Count circles that do not have exactly one colour, because tiles disagree.

    Args:
        outputs: predicted images; 'out/*' stands for all of a folder.
        labels: the label images of the circles, one for each output, in the same order.
        shown: criteria for the colour of a circle.
        inner: leave out circles that touch the border of an image.
        step: distance between tiles in voxels, if the outputs do not state it.
        origin: with --step, the first voxel of the first tile.
        period: total stride of the network in voxels, to test whether the position modulo the stride predicts the
            colour (default: read from the records of the outputs).
        planes: treat each plane Z of an output as a separate image.
        rows: write a row per circle to this file, .csv or .json.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.circles import evaluate_circles
    from vol2vol.metrics.objects.colours import Colouring
    from vol2vol.schemas import checked

    how = checked(Colouring, {key: value for key, value in vars(shown).items() if value is not None}, "the metric")
    images, label_images = (_opened(paths, about) for paths in (outputs, labels))
    places = {"grid": seams_.grid_of(step, origin), "period": period and seams_.voxels(period, "--period")}
    result = evaluate_circles(images, label_images, how=how, border=not inner, planes=planes, rows=rows, **places)
    show.result(result, as_json=json)


def stripes(
    outputs: Outputs,
    *,
    labels: parse.Paths,
    period: float,
    least: Number = None,
    inner: bool = False,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Count striped objects whose colour, direction or phase changes: where a choice did not reach across.

    Args:
        outputs: predicted images; 'out/*' stands for all of a folder.
        labels: the label images of the objects, one for each output, in the same order.
        period: distance between the middles of neighbouring stripes in voxels, as the phantom was made.
        least: share of an object that must have other stripes (0.05 unless given).
        inner: leave out objects that touch the border of an image.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.stripes import evaluate_stripes
    from vol2vol.metrics.objects.stripes import Striping
    from vol2vol.schemas import checked

    how = checked(Striping, {"period": period} | ({} if least is None else {"least": least}), "the metric")
    pictures, numbered = (_opened(paths, about) for paths in (outputs, labels))
    show.result(evaluate_stripes(pictures, numbered, how, border=not inner), as_json=json)


def _opened(paths: tuple[str, ...], about: parse.Metadata) -> list[Volume]:
    files = [file for path in paths for file in images_under(path, about.pattern)]
    return open_together(files, **about.keywords())
