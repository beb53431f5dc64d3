"""`vol2vol evaluate seams|fidelity|structure|overlap|distance ...`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, seams_, show
from vol2vol.errors import BadInput
from vol2vol.volumes import Volume, open_together
from vol2vol.volumes.opening import open_member


def run(words: list[str]) -> None:
    """Parse the command line and evaluate."""
    kinds: dict[str, Callable[..., None]] = {
        "seams": seams_.seams,
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


def _pair(first: str, second: str, about: parse.Metadata) -> tuple[Volume, Volume]:
    one, other = open_together([first, second], **about.keywords())
    return one, other


def _fidelity(
    volume: parse.Stored,
    truth: parse.Stored,
    *,
    data_range: Annotated[float | None, tyro.conf.arg(metavar="VALUE")] = None,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Compare a volume with the known truth: PSNR, SSIM, Pearson, LNCC.

    Args:
        volume: an output.
        truth: what it should be, of the same shape.
        data_range: span of grey values for PSNR and SSIM, such as 4095 for 12 bits; the truth's maximum minus minimum.
        about: what files of volumes do not say.
        json: print as JSON.
    """
    from vol2vol.recipes.evaluate import evaluate_fidelity

    show.result(evaluate_fidelity(*_pair(volume, truth, about), data_range=data_range), as_json=json)


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
    source: parse.Stored,
    output: parse.Stored,
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
    prediction: parse.Stored,
    mask: parse.Stored,
    *,
    choice: tyro.conf.OmitArgPrefixes[_Choice] = _TOLD,
    by: tyro.conf.OmitArgPrefixes[_Near] = _NOWHERE,
    instances: Literal["components", "watershed"] = "components",
    depth: Annotated[float | None, tyro.conf.arg(metavar="VOXELS")] = None,
    least: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None,
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
        least: minimum object size in voxels, on both sides; a tenth of the median true object.
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


def _asked(choice: _Choice, by: _Near, about: parse.Metadata) -> dict[str, Any]:
    """Return what else overlap is asked, by keyword."""
    from vol2vol.recipes.evaluate import NEAR

    if by.near is not None and by.seams is None:
        raise BadInput("--near says how far from seams: add --seams TRANSLATED")
    level, told = choice.level(), about.keywords()
    return {
        "threshold": level,
        "validation": choice.validation and tuple(open_member(path, **told) for path in choice.validation),
        "seams": by.seams and open_member(by.seams, **told),
        "near": NEAR if by.near is None else by.near,
    }


def _distance(
    source: parse.Stored,
    output: parse.Stored,
    target: parse.Stored,
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

    before, after, real = open_together([source, output, target], **about.keywords())
    cutting = Cutting(count=patches, size=size, axis=plane, layout=layout)
    by = ruler(features, real, cutting, weights=weights, keep=keep)
    show.result(evaluate_distance(before, after, real, by, cutting, resamples=resamples), as_json=json)
