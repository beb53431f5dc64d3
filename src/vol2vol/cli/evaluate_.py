"""`vol2vol evaluate seams|fidelity|overlap|distance ...`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.geometry import Shape
from vol2vol.volumes import Volume, open_finished

if TYPE_CHECKING:
    from vol2vol.metrics.comb import CombReport
    from vol2vol.metrics.seams import SeamReport

_Path = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]


def run(words: list[str]) -> None:
    """Parse the command line and evaluate."""
    kinds: dict[str, Callable[..., None]] = {
        "seams": _seams,
        "fidelity": _fidelity,
        "overlap": _overlap,
        "distance": _distance,
    }
    if not words or words[0] in ("-h", "--help"):
        print("usage: vol2vol evaluate KIND ...\n\nJudge stored volumes.\n")
        for name, verb in kinds.items():
            print(f"  {name:9} {(verb.__doc__ or '').splitlines()[0]}")
        print("\nvol2vol evaluate KIND --help says more about one.")
        return
    if words[0] not in kinds:
        raise BadInput(f"there is nothing called {words[0]!r} to evaluate: use one of {', '.join(kinds)}")
    parse.call(kinds[words[0]], words[1:], f"evaluate {words[0]}")


def _seams(
    volume: _Path,
    *,
    source: parse.Text = None,
    step: parse.VoxelSize = None,
    origin: parse.VoxelSize = None,
    period: parse.VoxelSize = None,
    blind: bool = False,
    plot: parse.Text = None,
    overwrite: bool = False,
    axes: parse.Axes = None,
    voxel_size: parse.VoxelSize = None,
    json: bool = False,
) -> None:
    """Test where tiles meet against the planes between, per axis.

    Args:
        volume: a stitched volume; one that vol2vol predicted says itself how it was tiled.
        source: the volume it was translated from, whose own steps are then discounted.
        step: distance between tiles in voxels, where the volume does not say.
        origin: where the first tile starts, with --step.
        period: after how many voxels the network repeats, with --step; planes in its phase are compared.
        blind: look for regular seams of any tile size.
        plot: write the statistic by phase of the grid as a picture (.png).
        overwrite: replace a picture that is there.
        axes: axes of volumes whose files do not say, such as zyx.
        voxel_size: voxel size of volumes whose files do not say.
        json: print as JSON.
    """
    from vol2vol.recipes.evaluate import evaluate_seams, seam_sentence

    if plot is not None:
        _refuse_plot(plot, overwrite=overwrite)
    size = show.numbers(voxel_size, "--voxel-size")
    opened = [open_finished(path, axes=axes, voxel_size=size) for path in (volume, source) if path is not None]
    found = evaluate_seams(opened[0], *opened[1:], grid=_grid(step, origin, period), blind=blind)
    reports: list[Any] = found if isinstance(found, list) else [found]
    if plot is not None:
        _plot(plot, reports)
    if json:
        told = [{**one.to_dict(), "sentence": seam_sentence(one)} for one in reports]
        show.result({"volume": volume, "passes": told}, as_json=True)
    for one in [] if json else reports:
        _table(one, seam_sentence(one))


def _grid(step: str | None, origin: str | None, period: str | None) -> Any:
    if step is None:
        if origin is not None or period is not None:
            raise BadInput("--origin and --period need --step: how far apart tiles are")
        return None
    from vol2vol.metrics.grid import Grid

    return Grid(
        step=_voxels(step, "--step"),
        origin=_voxels(origin or "0,0,0", "--origin"),
        period=_voxels(period or "1,1,1", "--period"),
    )


def _voxels(text: str, flag: str) -> Shape:
    found = show.numbers(text, flag) or []
    if len(found) != 3 or any(not n.is_integer() for n in found):
        raise BadInput(f"{flag} {text!r} must be three whole numbers of voxels: Z,Y,X")
    return tuple(int(n) for n in found)


def _table(report: SeamReport | CombReport, sentence: str) -> None:
    from vol2vol.metrics.comb import CombRow

    for row in report.rows:
        name = f"{row.axis} {getattr(row, 'test', 'comb'):4}"
        if row.verdict == "not tested":
            print(f"{name}  not tested: {row.reason}")
            continue
        where = f"every {row.step}" if isinstance(row, CombRow) else f"[{row.low:.4f}, {row.high:.4f}]"
        print(f"{name}  {row.statistic:.4f} {where}  p {row.p_corrected:.2g}  {row.verdict}")
    print(sentence)


def _refuse_plot(path: str, *, overwrite: bool) -> None:
    """Raise, before anything is measured, unless a picture may be written to a path."""
    if not path.endswith(".png"):
        raise BadInput(f"--plot {path}: name a .png file")
    if os.path.lexists(path) and not overwrite:
        raise AlreadyExists(f"--plot {path} exists: add --overwrite to replace it, or give another name")


def _plot(path: str, reports: list[Any]) -> None:
    from vol2vol.study.profiles import seam_profiles

    rows = [row for report in reports for row in report.to_dict()["rows"] if "profile" in row]
    try:
        Path(path).write_bytes(seam_profiles(rows))
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror}): choose another place") from None


def _pair(first: str, second: str, axes: str | None, voxel_size: str | None) -> tuple[Volume, Volume]:
    size = show.numbers(voxel_size, "--voxel-size")
    return open_finished(first, axes=axes, voxel_size=size), open_finished(second, axes=axes, voxel_size=size)


def _fidelity(
    volume: _Path,
    truth: _Path,
    *,
    axes: parse.Axes = None,
    voxel_size: parse.VoxelSize = None,
    json: bool = False,
) -> None:
    """Compare a volume with the known truth: PSNR, SSIM, Pearson, LNCC.

    Args:
        volume: an output.
        truth: what it should be, of the same shape.
        axes: axes of volumes whose files do not say, such as zyx.
        voxel_size: voxel size of volumes whose files do not say.
        json: print as JSON.
    """
    from vol2vol.recipes.evaluate import evaluate_fidelity

    show.result(evaluate_fidelity(*_pair(volume, truth, axes, voxel_size)), as_json=json)


def _overlap(
    prediction: _Path,
    mask: _Path,
    *,
    threshold: str = "0.5",
    instances: Literal["components", "watershed"] = "components",
    depth: Annotated[float | None, tyro.conf.arg(metavar="VOXELS")] = None,
    least: int = 1,
    axes: parse.Axes = None,
    voxel_size: parse.VoxelSize = None,
    json: bool = False,
) -> None:
    """Compare a segmentation with a mask: IoU, Dice, AUPRC, objects found and counted.

    Args:
        prediction: probabilities (floats in 0..1, uint8 or uint16 up to the type's largest) or a mask, no numbers of
            objects.
        mask: the truth, foreground where it is not 0.
        threshold: probability from which on a voxel is foreground, or best: the highest IoU on this very mask.
        instances: what an object is, on both sides: what hangs together, or parted at its necks.
        depth: with --instances watershed, by how many voxels a neck must be narrower than both its sides (2).
        least: voxels from which an object is counted.
        axes: axes of volumes whose files do not say, such as zyx.
        voxel_size: voxel size of volumes whose files do not say.
        json: print as JSON.
    """
    from vol2vol.metrics.watershed import Parting
    from vol2vol.recipes.evaluate import evaluate_overlap

    if depth is not None and instances == "components":
        raise BadInput("--depth says where a watershed parts: add --instances watershed")
    parting = None if instances == "components" else Parting() if depth is None else Parting(depth=depth)
    level: float | Literal["best"] = "best"
    if threshold != "best":
        told = show.numbers(threshold, "--threshold") or []
        if len(told) != 1:
            raise BadInput(f"--threshold {threshold!r} is not one number: give 0 to 1, or best")
        level = told[0]
    volumes = _pair(prediction, mask, axes, voxel_size)
    show.result(evaluate_overlap(*volumes, threshold=level, parting=parting, least=least), as_json=json)


def _distance(
    source: _Path,
    output: _Path,
    target: _Path,
    *,
    features: str = "inception",
    weights: parse.Text = None,
    patches: int = 20_000,
    size: int = 128,
    plane: Literal["xy", "xz", "yz"] = "xy",
    resamples: int = 100,
    axes: parse.Axes = None,
    voxel_size: parse.VoxelSize = None,
    json: bool = False,
) -> None:
    """Measure how far an output is from a target domain: FID and KID.

    Args:
        source: the volume before translation: the ceiling.
        output: its translation.
        target: a volume of the target domain; its two halves are the floor.
        features: inception, encoder (trains one on the target, minutes), or the folder of a trained encoder.
        weights: file of the Inception weights, where they cannot be downloaded.
        patches: how many patches of each volume, at most.
        size: voxels along the side of a patch.
        plane: the plane patches lie in.
        resamples: draws of the intervals; 0 leaves intervals out.
        axes: axes of volumes whose files do not say, such as zyx.
        voxel_size: voxel size of volumes whose files do not say.
        json: print as JSON.
    """
    from vol2vol.metrics.patches import Cutting
    from vol2vol.recipes.distance import evaluate_distance, ruler

    told = show.numbers(voxel_size, "--voxel-size")
    before, after, real = (open_finished(path, axes=axes, voxel_size=told) for path in (source, output, target))
    cutting = Cutting(count=patches, size=size, axis=plane)
    by = ruler(features, real, weights)
    show.result(evaluate_distance(before, after, real, by, cutting, resamples=resamples), as_json=json)
