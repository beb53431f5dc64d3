"""`vol2vol evaluate seams|fidelity|structure|overlap|circles|distance ...`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vol2vol.cli import circles_, parse, seams_, show
from vol2vol.errors import BadInput
from vol2vol.volumes import Volume, open_together
from vol2vol.volumes.opening import open_member

if TYPE_CHECKING:
    from vol2vol.metrics.measures import Measure
    from vol2vol.metrics.measures.subject import Need


def run(words: list[str]) -> None:
    """Parse the command line and evaluate."""
    own = _own()
    if not words or words[0] in ("-h", "--help"):
        print("usage: vol2vol evaluate KIND ...\n\nMeasure the quality of stored volumes.\n")
        kinds = own | _listed()
        for name, verb in kinds.items():
            print(f"  {name:{max(map(len, kinds))}} {(verb.__doc__ or '').splitlines()[0]}")
        print("\nvol2vol evaluate KIND --help says more about one.")
        return
    kinds = own if words[0] in own else own | _listed()
    if words[0] not in kinds:
        raise BadInput(f"there is nothing called {words[0]!r} to evaluate: use one of {', '.join(kinds)}")
    parse.call(kinds[words[0]], words[1:], f"evaluate {words[0]}")


def _own() -> dict[str, Callable[..., None]]:
    return {
        "seams": seams_.seams,
        "fidelity": _fidelity,
        "structure": _structure,
        "overlap": _overlap,
        "circles": circles_.circles,
        "distance": _distance,
    }


def _listed() -> dict[str, Callable[..., None]]:
    """Return a verb for every other measure that needs nothing but volumes."""
    from vol2vol.evaluation.compare import measurable

    return {measure.name: _verb(measure) for measure in measurable() if measure.name not in _own()}


def _verb(measure: Measure) -> Callable[..., None]:
    """Return the verb that takes a measure of the list."""

    def verb(
        output: parse.Stored,
        *,
        source: parse.Text = None,
        truth: parse.Text = None,
        target: parse.Text = None,
        mask: parse.Text = None,
        about: parse.About = parse.SAID,
        json: bool = False,
    ) -> None:
        from vol2vol.evaluation.compare import evaluate_measure

        told = {"source": source, "truth": truth, "target": target, "mask": mask}
        paths: dict[Need, str] = {need: path for need, path in told.items() if path is not None}  # type: ignore[misc]
        if lacking := [need for need in measure.needs if need not in paths]:
            raise BadInput(f"{measure.name} needs a {lacking[0]}: add --{lacking[0]} PATH")
        if surplus := [need for need in paths if need not in measure.needs]:
            raise BadInput(f"{measure.name} does not look at a {surplus[0]}: leave --{surplus[0]} out")
        first, *others = open_together([output, *paths.values()], **about.keywords())
        show.result(evaluate_measure(measure.name, first, dict(zip(paths, others, strict=True))), as_json=json)

    needs = f"Needs {', '.join(f'--{need}' for need in measure.needs)}." if measure.needs else ""
    verb.__doc__ = _MEASURE.format(about=f"{measure.about[:1].upper()}{measure.about[1:]}.", needs=needs)
    return verb


_MEASURE = """{about}

    {needs}

    Args:
        output: the volume to be measured.
        source: the volume it was translated from.
        truth: the known truth, of the same shape.
        target: a volume of the target domain.
        mask: the mask of its foreground, of the same shape.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """


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
        volume: an output, to be compared.
        truth: the known truth, of the same shape.
        data_range: span of grey values for PSNR and SSIM, such as 4095 for 12 bits; the truth's maximum minus minimum.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.compare import evaluate_fidelity

    show.result(evaluate_fidelity(*_pair(volume, truth, about), data_range=data_range), as_json=json)


@dataclass(frozen=True)
class _Choice:
    """From which probability on a voxel is foreground."""

    threshold: parse.Text = None
    """probability from which a voxel is foreground (0.5 unless given), or best: the one of highest IoU on this mask."""
    validation: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="PREDICTION MASK")] = None
    """choose the threshold of highest IoU on another prediction and its mask instead."""

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
    """the translated volume that was segmented, whose tiling is read from its metadata."""
    near: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None
    """with --seams, voxels on either side of a seam that count as near it (8 unless given)."""


_TOLD, _NOWHERE = _Choice(), _Near()


def _structure(
    source: parse.Stored,
    output: parse.Stored,
    *,
    about: parse.About = parse.SAID,
    json: bool = False,
) -> None:
    """Measure how much of a source's structure an output keeps: LNCC, correlation of gradients, NMI.

    Args:
        source: the volume before translation.
        output: its translation, of the same shape.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.compare import evaluate_structure

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
        prediction: probabilities (floats from 0 to 1, or uint8 or uint16 from 0 to the largest value of the type) or
            a mask, not an instance-label image.
        mask: the truth: 0 is background, every other whole number foreground.
        choice: threshold above which a voxel is foreground.
        by: what overlap loses near seams.
        instances: objects are connected components, or components split at narrow necks (watershed), in prediction
            and mask alike.
        depth: with --instances watershed, by how many voxels a neck must be narrower than both its sides (2 unless
            given).
        least: minimum object size in voxels, in prediction and mask alike; a tenth of the median true object unless
            given.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.compare import evaluate_overlap
    from vol2vol.metrics.objects.watershed import Parting

    if depth is not None and instances == "components":
        raise BadInput("--depth says where a watershed parts: add --instances watershed")
    parting = None if instances == "components" else Parting() if depth is None else Parting(depth=depth)
    asked = {"parting": parting, "least": least, **_asked(choice, by, about)}
    show.result(evaluate_overlap(*_pair(prediction, mask, about), **asked), as_json=json)


def _asked(choice: _Choice, by: _Near, about: parse.Metadata) -> dict[str, Any]:
    """Return what else overlap is asked, by keyword."""
    from vol2vol.evaluation.compare import NEAR

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
        source: the volume before translation; its distance is the upper bound.
        output: its translation.
        target: a volume of the target domain; the distance of its two halves is the lower bound.
        features: inception, encoder (trained on the target within minutes), or the folder of a trained encoder.
        weights: file of the Inception weights, where they cannot be downloaded.
        keep: with --features encoder, the folder to save the encoder in, to be given as --features for other outputs.
        patches: largest number of patches taken from each volume.
        size: side of a patch in voxels.
        plane: plane in which the patches lie.
        layout: patches at random places, or side by side on a grid.
        resamples: bootstrap samples of the confidence intervals; 0 leaves the intervals out.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.distance import evaluate_distance, feature_space
    from vol2vol.metrics.distances.cut_patches import Cutting

    before, after, real = open_together([source, output, target], **about.keywords())
    cutting = Cutting(count=patches, size=size, axis=plane, layout=layout)
    by = feature_space(features, real, cutting, weights=weights, keep=keep)
    show.result(evaluate_distance(before, after, real, by, cutting, resamples=resamples), as_json=json)
