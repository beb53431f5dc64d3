"""`vol2vol evaluate seams|fidelity|structure|overlap|circles|stripes|distance ...`."""

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
        print("\nvol2vol evaluate KIND --help explains a measurement.")
        return
    kinds = own if words[0] in own else own | _listed()
    if words[0] not in kinds:
        raise BadInput(f"evaluate {words[0]}: there is no such measurement: use one of {', '.join(kinds)}")
    parse.call(kinds[words[0]], words[1:], f"evaluate {words[0]}")


def _own() -> dict[str, Callable[..., None]]:
    return {
        "seams": seams_.seams,
        "fidelity": _fidelity,
        "structure": _structure,
        "overlap": _overlap,
        "circles": circles_.circles,
        "stripes": circles_.stripes,
        "distance": _distance,
    }


def _listed() -> dict[str, Callable[..., None]]:
    """Return a verb for every other measure that needs only volumes."""
    from vol2vol.evaluation.compare import measurable

    return {measure.name: _verb(measure) for measure in measurable() if measure.name not in _own()}


def _verb(measure: Measure) -> Callable[..., None]:
    """Return the verb for a measure of the catalogue."""

    def verb(
        output: parse.Stored,
        *,
        source: parse.Volume = None,
        truth: parse.Volume = None,
        target: parse.Volume = None,
        mask: parse.Volume = None,
        about: parse.MetadataOptions = parse.NO_METADATA,
        json: bool = False,
    ) -> None:
        from vol2vol.evaluation.compare import evaluate_measure

        options = {"source": source, "truth": truth, "target": target, "mask": mask}
        paths: dict[Need, str] = {need: path for need, path in options.items() if path is not None}  # type: ignore[misc]
        if lacking := [need for need in measure.needs if need not in paths]:
            raise BadInput(f"{measure.name} needs a {lacking[0]}: add --{lacking[0]} PATH")
        if surplus := [need for need in paths if need not in measure.needs]:
            raise BadInput(f"{measure.name} does not use a {surplus[0]}: leave --{surplus[0]} out")
        first, *others = open_together([output, *paths.values()], **about.keywords())
        show.result(evaluate_measure(measure.name, first, dict(zip(paths, others, strict=True))), as_json=json)

    needs = f"Needs {', '.join(f'--{need}' for need in measure.needs)}." if measure.needs else ""
    verb.__doc__ = _MEASURE.format(about=f"{measure.about[:1].upper()}{measure.about[1:]}.", needs=needs)
    return verb


_MEASURE = """{about}

    {needs}

    Args:
        output: the volume to measure.
        source: the volume that was translated.
        truth: the ground truth, of the same shape.
        target: a volume of the target domain.
        mask: the mask of the foreground, of the same shape.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """


def _pair(first: str, second: str, about: parse.Metadata) -> tuple[Volume, Volume]:
    volumes = open_together([first, second], **about.keywords())
    return volumes[0], volumes[1]


def _fidelity(
    volume: parse.Stored,
    truth: parse.Stored,
    *,
    data_range: Annotated[float | None, tyro.conf.arg(metavar="VALUE")] = None,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Compare a volume with the ground truth: PSNR, SSIM, Pearson, LNCC.

    Args:
        volume: the volume to compare.
        truth: the ground truth, of the same shape.
        data_range: range of grey values for PSNR and SSIM, such as 4095 for 12 bits (default: the truth's maximum
            minus its minimum).
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.compare import evaluate_fidelity

    show.result(evaluate_fidelity(*_pair(volume, truth, about), data_range=data_range), as_json=json)


@dataclass(frozen=True)
class _Choice:
    """Minimum probability of a foreground voxel."""

    threshold: Annotated[str | None, tyro.conf.arg(metavar="VALUE")] = None
    """minimum probability of a foreground voxel, or best, the threshold of highest IoU on this mask (default: 0.5)."""
    validation: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="PREDICTION MASK")] = None
    """choose the threshold of highest IoU on another prediction and its mask instead."""

    def level(self) -> float | Literal["best"]:
        """Return the threshold."""
        if self.validation is not None and self.threshold is not None:
            raise BadInput("--validation chooses the threshold: leave --threshold out")
        if self.threshold == "best":
            return "best"
        numbers = show.numbers(self.threshold or "0.5", "--threshold") or []
        if len(numbers) != 1:
            raise BadInput(f"--threshold {self.threshold!r} is not a single number: give 0 to 1, or best")
        return numbers[0]


@dataclass(frozen=True)
class _Near:
    """The seams to examine."""

    seams: Annotated[str | None, tyro.conf.arg(metavar="TRANSLATED")] = None
    """the translated volume that was segmented; its tiling is read from its metadata."""
    near: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None
    """with --seams, maximum distance between a seam and the voxels near it (default: 8)."""


_AT_HALF, _NOWHERE = _Choice(), _Near()


def _structure(
    source: parse.Stored,
    output: parse.Stored,
    *,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Measure how well a translation preserves the structure of its source: LNCC, correlation of gradients, NMI.

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
    choice: tyro.conf.OmitArgPrefixes[_Choice] = _AT_HALF,
    by: tyro.conf.OmitArgPrefixes[_Near] = _NOWHERE,
    instances: Literal["components", "watershed"] = "components",
    depth: Annotated[float | None, tyro.conf.arg(metavar="VOXELS")] = None,
    least: Annotated[int | None, tyro.conf.arg(metavar="VOXELS")] = None,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Compare a segmentation with a mask: IoU, Dice, AUPRC, detected objects and their number.

    Args:
        prediction: probabilities (floats from 0 to 1, or uint8 or uint16 over the full range of the type) or a mask,
            not an instance-label image.
        mask: the ground truth: 0 is background, every other whole number is foreground.
        choice: threshold above which a voxel is foreground.
        by: comparison of the overlap near seams and elsewhere.
        instances: objects are connected components, or components split at narrow necks (watershed), in prediction
            and mask alike.
        depth: with --instances watershed, how many voxels narrower than the parts on both sides a neck must be to
            split an object (default: 2).
        least: minimum object size in voxels, in prediction and mask alike (default: a tenth of the median object of
            the mask).
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.compare import evaluate_overlap
    from vol2vol.metrics.objects.watershed import Parting

    if depth is not None and instances == "components":
        raise BadInput("--depth is an option of --instances watershed: add --instances watershed")
    parting = None if instances == "components" else Parting() if depth is None else Parting(depth=depth)
    options = {"parting": parting, "least": least, **_overlap_options(choice, by, about)}
    show.result(evaluate_overlap(*_pair(prediction, mask, about), **options), as_json=json)


def _overlap_options(choice: _Choice, by: _Near, about: parse.Metadata) -> dict[str, Any]:
    """Return the threshold and the seams as keywords of `evaluate_overlap`."""
    from vol2vol.evaluation.compare import NEAR

    if by.near is not None and by.seams is None:
        raise BadInput("--near is an option of --seams: add --seams TRANSLATED")
    level, keywords = choice.level(), about.keywords()
    return {
        "threshold": level,
        "validation": choice.validation and tuple(open_member(path, **keywords) for path in choice.validation),
        "seams": by.seams and open_member(by.seams, **keywords),
        "near": NEAR if by.near is None else by.near,
    }


def _distance(
    source: parse.Stored,
    output: parse.Stored,
    target: parse.Stored,
    *,
    features: parse.Name = "inception",
    weights: parse.File = None,
    keep: parse.OptionalFolder = None,
    patches: int = 20_000,
    size: int = 128,
    plane: Literal["xy", "xz", "yz"] = "xy",
    layout: Literal["random", "grid"] = "random",
    resamples: int = 100,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Measure the distance between an output and a target domain: FID and KID.

    Args:
        source: the volume before translation; its distance is the upper bound.
        output: its translation.
        target: a volume of the target domain; the distance between its two halves is the lower bound.
        features: inception, encoder (trained on the target within minutes), or the folder of a trained encoder.
        weights: file with the Inception weights, if they cannot be downloaded.
        keep: with --features encoder, folder in which the encoder is saved, to be used as --features for other outputs.
        patches: maximum number of patches from each volume.
        size: side of a patch in voxels.
        plane: orientation of the patches.
        layout: patches at random positions, or side by side on a grid.
        resamples: number of bootstrap samples for the confidence intervals; 0 for no intervals.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    from vol2vol.evaluation.distance import evaluate_distance, feature_space
    from vol2vol.metrics.distances.cut_patches import Cutting

    before, after, real = open_together([source, output, target], **about.keywords())
    cutting = Cutting(count=patches, size=size, axis=plane, layout=layout)
    space = feature_space(features, real, cutting, weights=weights, keep=keep)
    show.result(evaluate_distance(before, after, real, space, cutting, resamples=resamples), as_json=json)
