"""`vol2vol evaluate seams VOLUME`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vol2vol.cli import parse, show
from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.files import check_place
from vol2vol.geometry import Shape
from vol2vol.volumes import open_together
from vol2vol.volumes.addresses import local_path

if TYPE_CHECKING:
    from vol2vol.metrics.seams.unknown_grid import CombReport, CombRow
    from vol2vol.metrics.seams.verdicts import SeamReport


def seams(
    volume: parse.Stored,
    *,
    source: parse.Volume = None,
    step: parse.VoxelSize = None,
    origin: parse.VoxelSize = None,
    overlap: parse.VoxelSize = None,
    period: parse.VoxelSize = None,
    blind: bool = False,
    plot: parse.File = None,
    overwrite: bool = False,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Test for seams: compare the planes where tiles meet with the planes in between, for each axis.

    Args:
        volume: a stitched volume; for volumes written by vol2vol, the tiling is read from their metadata.
        source: the volume that was translated; steps that the source has, too, are then not counted.
        step: distance between tiles in voxels, if the metadata do not state it.
        origin: with --step, the first voxel of the first tile.
        overlap: with --step, voxels in which neighbouring tiles overlap and are averaged or blended.
        period: with --step, the network's period (total stride) in voxels; only planes of the same phase are compared.
        blind: search for regular seams of any tile size, without the tiling.
        plot: write a plot of the statistic against the phase of the grid (.png).
        overwrite: replace a plot that exists.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.seams import evaluate_seams, statistics_of

    if plot is not None:
        _refuse_plot(plot, overwrite=overwrite)
    opened = open_together((path for path in (volume, source) if path is not None), **about.keywords())
    result = evaluate_seams(opened[0], *opened[1:], grid=grid_of(step, origin, overlap, period), blind=blind)
    reports: list[Any] = result if isinstance(result, list) else [result]
    if plot is not None:
        _plot(plot, reports)
    _print(volume, reports, None if step or blind else statistics_of(opened[0]), as_json=json)


def grid_of(step: str | None, origin: str | None, overlap: str | None = None, period: str | None = None) -> Any:
    """Return the grid of tiles that options state, None without --step; raise `BadInput` if they do not fit."""
    if step is None:
        if origin is not None or overlap is not None or period is not None:
            raise BadInput("--origin, --overlap and --period need the distance between tiles: add --step Z,Y,X")
        return None
    from vol2vol.metrics.seams.grid import Grid

    return Grid(
        step=voxels(step, "--step"),
        origin=voxels(origin or "0,0,0", "--origin"),
        overlap=voxels(overlap or "0,0,0", "--overlap"),
        period=voxels(period or "1,1,1", "--period"),
    )


def voxels(text: str, flag: str) -> Shape:
    """Return the three whole numbers of an option; raise `BadInput` if it has others."""
    numbers = show.numbers(text, flag) or []
    if len(numbers) != 3 or any(not n.is_integer() for n in numbers):
        raise BadInput(f"{flag} {text!r} must be three whole numbers of voxels: Z,Y,X")
    return tuple(int(n) for n in numbers)


def _print(volume: str, reports: list[Any], statistics: str | None, *, as_json: bool) -> None:
    from vol2vol.metrics.seams.sentences import seam_sentence

    sentences = [seam_sentence(report) for report in reports]
    if as_json:
        passes = [{**report.to_dict(), "sentence": text} for report, text in zip(reports, sentences, strict=True)]
        show.result({"volume": volume, "statistics": statistics, "passes": passes}, as_json=True)
        return
    for report, sentence in zip(reports, sentences, strict=True):
        _table(report, sentence)
    if any(hasattr(row, "test") for report in reports for row in report.rows):
        show.line("SGR: sharp edges where tiles meet; SJE: intensity steps; HFR: detail lost by averaging.")
        show.line("Each is 1 without seams; its 95 % interval is in brackets; p is corrected for all tests.")
    if statistics == "tile":
        show.line("Every tile was normalised by its own statistics, which causes seams at any overlap.")


def _table(report: SeamReport | CombReport, sentence: str) -> None:
    from vol2vol.metrics.seams.unknown_grid import CombRow

    show.line(sentence)
    for row in report.rows:
        name = f"{row.axis} {getattr(row, 'test', 'comb'):4}"
        if row.verdict == "not tested":
            show.line(f"{name}  not tested: {row.reason}")
            continue
        where = _comb(row) if isinstance(row, CombRow) else f"[{row.low:.4f}, {row.high:.4f}]"
        show.line(f"{name}  {row.statistic:.4f} {where}  p {row.p_corrected:.2g}  {row.verdict}")


def _comb(row: CombRow) -> str:
    bands = f", overlap {row.overlap}" if row.overlap else ""
    return f"every {row.step} from {row.origin}{bands}"


def _refuse_plot(path: str, *, overwrite: bool) -> None:
    """Raise `UserError`, before anything is measured, if a picture cannot be written to a path."""
    local_path(path, "a picture")
    if not path.endswith(".png"):
        raise BadInput(f"--plot {path} is not the name of a picture: use a name that ends in .png")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise BadInput(f"--plot {path}: the folder {os.path.dirname(path)} does not exist: create it first")
    check_place(path)
    if os.path.isdir(path):
        raise AlreadyExists(f"--plot {path} is a folder: give another name")
    if os.path.lexists(path) and not overwrite:
        raise AlreadyExists(f"--plot {path} exists: add --overwrite to replace it, or give another name")


def _plot(path: str, reports: list[Any]) -> None:
    from vol2vol.report.figures.phase_profile import seam_profiles

    rows = [row for report in reports for row in report.to_dict()["rows"] if "profile" in row]
    try:
        local_path(path, "a picture").write_bytes(seam_profiles(rows))
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror}): choose another place") from None
