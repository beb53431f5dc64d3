"""`vol2vol evaluate seams|fidelity|structure|overlap|distance ...`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput, CannotWrite
from vol2vol.geometry import Shape
from vol2vol.volumes import Volume, open_finished

if TYPE_CHECKING:
    from vol2vol.metrics.comb import CombReport, CombRow
    from vol2vol.metrics.verdicts import SeamReport

_Path = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]


def run(words: list[str]) -> None:
    """Parse the command line and evaluate."""
    kinds: dict[str, Callable[..., None]] = {
        "seams": _seams,
        "fidelity": _fidelity,
        "structure": _structure,
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
    overlap: parse.VoxelSize = None,
    period: parse.VoxelSize = None,
    blind: bool = False,
    plot: parse.Text = None,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Test where tiles meet against the planes between, per axis.

    Args:
        volume: a stitched volume; one that vol2vol predicted says itself how it was tiled.
        source: the volume it was translated from, whose own steps are then discounted.
        step: distance between tiles in voxels, where the volume does not say.
        origin: where the first tile starts, with --step.
        overlap: voxels that tiles share and in which they are averaged or blended, with --step.
        period: after how many voxels the network repeats, with --step; planes in its phase are compared.
        blind: look for regular seams of any tile size.
        plot: write the statistic by phase of the grid as a picture (.png).
        about: what files of volumes do not say.
        json: print as JSON.
    """
    from vol2vol.recipes.evaluate import evaluate_seams, seam_sentence

    opened = [open_finished(path, **about.told()) for path in (volume, source) if path is not None]
    found = evaluate_seams(opened[0], *opened[1:], grid=_grid(step, origin, overlap, period), blind=blind)
    reports: list[Any] = found if isinstance(found, list) else [found]
    if plot is not None:
        _plot(plot, reports)
    _tell(volume, [(one, seam_sentence(one)) for one in reports], as_json=json)


def _grid(step: str | None, origin: str | None, overlap: str | None, period: str | None) -> Any:
    if step is None:
        if origin is not None or overlap is not None or period is not None:
            raise BadInput("--origin, --overlap and --period need --step: how far apart tiles are")
        return None
    from vol2vol.metrics.grid import Grid

    return Grid(
        step=_voxels(step, "--step"),
        origin=_voxels(origin or "0,0,0", "--origin"),
        overlap=_voxels(overlap or "0,0,0", "--overlap"),
        period=_voxels(period or "1,1,1", "--period"),
    )


def _voxels(text: str, flag: str) -> Shape:
    found = show.numbers(text, flag) or []
    if len(found) != 3 or any(not n.is_integer() for n in found):
        raise BadInput(f"{flag} {text!r} must be three whole numbers of voxels: Z,Y,X")
    return tuple(int(n) for n in found)


def _tell(volume: str, found: list[tuple[Any, str]], *, as_json: bool) -> None:
    if as_json:
        passes = [{**report.to_dict(), "sentence": sentence} for report, sentence in found]
        show.result({"volume": volume, "passes": passes}, as_json=True)
        return
    for report, sentence in found:
        _table(report, sentence)


def _table(report: SeamReport | CombReport, sentence: str) -> None:
    from vol2vol.metrics.comb import CombRow

    for row in report.rows:
        name = f"{row.axis} {getattr(row, 'test', 'comb'):4}"
        if row.verdict == "not tested":
            print(f"{name}  not tested: {row.reason}")
            continue
        where = _comb(row) if isinstance(row, CombRow) else f"[{row.low:.4f}, {row.high:.4f}]"
        print(f"{name}  {row.statistic:.4f} {where}  p {row.p_corrected:.2g}  {row.verdict}")
    print(sentence)


def _comb(row: CombRow) -> str:
    bands = f", overlap {row.overlap}" if row.overlap else ""
    return f"every {row.step} from {row.origin}{bands}"


def _plot(path: str, reports: list[Any]) -> None:
    from vol2vol.study.profiles import seam_profiles

    if not path.endswith(".png"):
        raise BadInput(f"--plot {path}: name a .png file")
    rows = [row for report in reports for row in report.to_dict()["rows"] if "profile" in row]
    try:
        Path(path).write_bytes(seam_profiles(rows))
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror}): choose another place") from None


def _pair(first: str, second: str, about: parse.Unsaid) -> tuple[Volume, Volume]:
    return open_finished(first, **about.told()), open_finished(second, **about.told())


def _fidelity(
    volume: _Path,
    truth: _Path,
    *,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Compare a volume with the known truth: PSNR, SSIM, Pearson, LNCC.

    Args:
        volume: an output.
        truth: what it should be, of the same shape.
        about: what files of volumes do not say.
        json: print as JSON.
    """
    from vol2vol.recipes.evaluate import evaluate_fidelity

    show.result(evaluate_fidelity(*_pair(volume, truth, about)), as_json=json)


@dataclass(frozen=True)
class _Choice:
    """From which probability on a voxel is foreground."""

    threshold: parse.Text = None
    """probability from which on a voxel is foreground (0.5), or best: the highest IoU on this very mask."""
    validation: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="PREDICTION MASK")] = None
    """another prediction and its mask, on which the threshold of highest IoU is chosen instead."""

    def level(self) -> float | Literal["best"]:
        """Return the threshold that was told."""
        if self.validation is not None and self.threshold is not None:
            raise BadInput("--validation chooses the threshold: leave --threshold out")
        if self.threshold == "best":
            return "best"
        told = show.numbers(self.threshold or "0.5", "--threshold") or []
        if len(told) != 1:
            raise BadInput(f"--threshold {self.threshold!r} is not one number: give 0 to 1, or best")
        return told[0]


@dataclass(frozen=True)
class _Near:
    """Which seams."""

    seams: Annotated[str | None, tyro.conf.arg(metavar="TRANSLATED")] = None
    """the translated volume that was segmented: what overlap loses near its seams."""
    near: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None
    """with --seams, voxels on either side of a seam that count as near it (8)."""


_TOLD, _NOWHERE = _Choice(), _Near()


def _structure(
    source: _Path,
    output: _Path,
    *,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Ask how much of a source's structure an output keeps: LNCC, correlation of gradients, NMI.

    Args:
        source: the volume before translation.
        output: its translation, of the same shape.
        about: what files of volumes do not say.
        json: print as JSON.
    """
    from vol2vol.recipes.evaluate import evaluate_structure

    show.result(evaluate_structure(*_pair(source, output, about)), as_json=json)


def _overlap(
    prediction: _Path,
    mask: _Path,
    *,
    choice: tyro.conf.OmitArgPrefixes[_Choice] = _TOLD,
    by: tyro.conf.OmitArgPrefixes[_Near] = _NOWHERE,
    instances: Literal["components", "watershed"] = "components",
    depth: Annotated[float | None, tyro.conf.arg(metavar="VOXELS")] = None,
    least: int = 1,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Compare a segmentation with a mask: IoU, Dice, AUPRC, objects found and counted.

    Args:
        prediction: probabilities (floats in 0..1, uint8 or uint16 up to the type's largest) or a mask, no numbers of
            objects.
        mask: the truth, foreground where it is not 0.
        choice: the threshold.
        by: the seams.
        instances: what an object is, on both sides: what hangs together, or parted at its necks.
        depth: with --instances watershed, by how many voxels a neck must be narrower than both its sides (2).
        least: voxels from which an object is counted.
        about: what files of volumes do not say.
        json: print as JSON.
    """
    from vol2vol.metrics.watershed import Parting
    from vol2vol.recipes.evaluate import evaluate_overlap

    if depth is not None and instances == "components":
        raise BadInput("--depth says where a watershed parts: add --instances watershed")
    parting = None if instances == "components" else Parting() if depth is None else Parting(depth=depth)
    asked = {"parting": parting, "least": least, **_asked(choice, by, about)}
    show.result(evaluate_overlap(*_pair(prediction, mask, about), **asked), as_json=json)


def _asked(choice: _Choice, by: _Near, about: parse.Unsaid) -> dict[str, Any]:
    """Return what else overlap is asked, by keyword."""
    from vol2vol.recipes.evaluate import NEAR

    if by.near is not None and by.seams is None:
        raise BadInput("--near says how far from seams: add --seams TRANSLATED")
    level, told = choice.level(), about.told()
    return {
        "threshold": level,
        "validation": choice.validation and tuple(open_finished(path, **told) for path in choice.validation),
        "seams": by.seams and open_finished(by.seams, **told),
        "near": NEAR if by.near is None else by.near,
    }


def _distance(
    source: _Path,
    output: _Path,
    target: _Path,
    *,
    features: str = "inception",
    weights: parse.Text = None,
    keep: parse.Text = None,
    patches: int = 20_000,
    size: int = 128,
    plane: Literal["xy", "xz", "yz"] = "xy",
    layout: Literal["random", "grid"] = "random",
    resamples: int = 100,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Measure how far an output is from a target domain: FID and KID.

    Args:
        source: the volume before translation: the ceiling.
        output: its translation.
        target: a volume of the target domain; its two halves are the floor.
        features: inception, encoder (trains one on the target, minutes), or the folder of a trained encoder.
        weights: file of the Inception weights, where they cannot be downloaded.
        keep: with --features encoder, the folder to write it to; it becomes the --features of other outputs.
        patches: how many patches of each volume, at most.
        size: voxels along the side of a patch.
        plane: the plane patches lie in.
        layout: patches anywhere, or side by side on a grid.
        resamples: draws of the intervals; 0 leaves intervals out.
        about: what files of volumes do not say.
        json: print as JSON.
    """
    from vol2vol.metrics.patches import Cutting
    from vol2vol.recipes.distance import evaluate_distance, ruler

    before, after, real = (open_finished(path, **about.told()) for path in (source, output, target))
    cutting = Cutting(count=patches, size=size, axis=plane, layout=layout)
    by = ruler(features, real, cutting, weights=weights, keep=keep)
    show.result(evaluate_distance(before, after, real, by, cutting, resamples=resamples), as_json=json)
