"""Evaluate stored volumes: fidelity to a truth or a source, overlap with a mask.

Results are plain data. NaN and infinities become None, so that every result can be written as JSON.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any, Literal

from vol2vol.errors import BadInput
from vol2vol.evaluation.seams import seam_planes
from vol2vol.geometry import Shape
from vol2vol.intensity import apart
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.measures import MEASURES, Bounded, Measure, Number, Subject, measures
from vol2vol.metrics.measures.subject import Need
from vol2vol.metrics.objects.instances import Contingency, shared_objects, tenth_of_median
from vol2vol.metrics.objects.matching import objects
from vol2vol.metrics.objects.overlap import Curve, curve, near_seams, scores_at
from vol2vol.metrics.objects.scores import LEVELS, object_scores
from vol2vol.metrics.objects.watershed import Parting
from vol2vol.metrics.similarity.fidelity import span, to_truth
from vol2vol.metrics.similarity.volume_pairs import alike
from vol2vol.volumes import Volume

log = logging.getLogger(__name__)
SAME_SHAPE: tuple[Need, ...] = ("source", "truth", "mask")
"""The needs of measures that must have the output's shape."""
NEAR = 8
"""Distance from a seam, in voxels, up to which voxels count as near it."""


def plain(value: Any) -> Any:
    """Return data for JSON: dataclasses become mappings, numbers that are not finite become None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate_fidelity(
    output: Volume, truth: Volume, *, data_range: float | None = None, block: Shape | None = None
) -> dict[str, Any]:
    """Compare an output with the known truth: PSNR, SSIM, Pearson, LNCC, mean absolute difference, with intervals.

    PSNR and SSIM are relative to `data_range`, by default the truth's maximum minus its minimum; the result states it.
    Raises `BadInput` if shapes or voxel sizes differ, the truth is constant or `data_range` is not above 0.
    """
    alike(output, truth)
    if data_range is not None and not 0 < data_range < math.inf:
        raise BadInput(f"`data_range` {data_range:g} must be a number above 0, such as 4095 for 12 bits")
    warn_of_ranges(output, truth)
    used, origin = (span(truth), "maximum minus minimum of the truth") if data_range is None else (data_range, "given")
    scores = to_truth(output, truth, data_range=used, block=block)
    return {"data range": used, "data range from": origin} | {name: measured(score) for name, score in scores.items()}


def warn_of_ranges(output: Volume, reference: Volume) -> None:
    """Warn if two volumes whose stored grey values are compared have different ranges."""
    if words := apart(output, reference):
        log.warning("%s: this dominates differences of stored values; vol2vol prepare `range` rescales", words)


def evaluate_structure(source: Volume, output: Volume, *, block: Shape | None = None) -> dict[str, Any]:
    """Measure how much of a source's structure an output keeps: LNCC, correlation of gradients, NMI, with intervals.

    Raises `BadInput` if shapes or voxel sizes differ or a volume is constant.
    """
    return evaluate_measure("structure", output, {"source": source}, block=block)


def measurable() -> list[Measure]:
    """Return the measures that need only stored volumes."""
    return [measure for measure in measures() if {*measure.needs} <= {*SAME_SHAPE, "target"}]


def evaluate_measure(
    name: str, output: Volume, volumes: Mapping[Need, Volume], *, block: Shape | None = None
) -> dict[str, Any]:
    """Apply the measure `name` to an output; return its values by key, with intervals, and its notes.

    `volumes` holds the volumes that it needs, among `source`, `truth`, `mask` and `target`. Raises `BadInput` if the
    measure is unknown or needs other volumes, or if source, truth or mask differ from the output in shape or voxel
    size.
    """
    if name not in {measure.name for measure in measurable()}:
        known = ", ".join(measure.name for measure in measurable())
        raise BadInput(f"measure {name!r} cannot be applied to stored volumes: use one of {known}")
    measure = MEASURES[name]
    if {*volumes} != {*measure.needs}:
        raise BadInput(f"measure {name} needs {' and '.join(measure.needs) or 'only the output'}: give exactly these")
    for need in SAME_SHAPE:
        if need in volumes:
            alike(volumes[need], output, channels=need != "mask")
    provide: dict[Need, Callable[[], Any]] = {need: partial(volumes.__getitem__, need) for need in volumes}
    result = measure.take(Subject(volume=output, block=block, provide=provide))
    values = {key: _plain_number(number) for key, number in result.values.items()}
    return values | ({"in words": {key or name: note for key, note in result.notes.items()}} if result.notes else {})


def _plain_number(number: Number) -> Any:
    """Return a measure's number as plain data."""
    if isinstance(number, Blockwise):
        return measured(number)
    return plain(number._asdict() if isinstance(number, Bounded) else number)


def measured(value: Blockwise) -> dict[str, Any]:
    """Return a metric with its 95 % block-bootstrap interval; the interval is None with fewer than two blocks."""
    numbers: dict[str, Any] = {"value": value.value, "low": None, "high": None, "blocks": len(value.sums)}
    if len(value.sums) >= 2:
        interval = value.interval()
        numbers |= {"value": interval.value, "low": interval.low, "high": interval.high, "blocks": interval.blocks}
    return {key: plain(number) for key, number in numbers.items()}


def evaluate_overlap(
    prediction: Volume,
    mask: Volume,
    *,
    threshold: float | Literal["best"] = 0.5,
    validation: tuple[Volume, Volume] | None = None,
    seams: Volume | None = None,
    near: int = NEAR,
    parting: Parting | None = None,
    least: int | None = None,
    block: Shape | None = None,
) -> dict[str, Any]:
    """Compare a predicted probability with a mask: IoU, Dice, AUPRC, adapted Rand error, objects found and counted.

    Objects are connected components or, with `parting`, the basins of a watershed. Objects of fewer than `least`
    voxels, by default a tenth of the median true object, are left out on both sides, except for the adapted Rand error,
    which counts pairs of voxels. `best` picks the threshold of highest IoU on this very mask, which is optimistic; with
    `validation`, another prediction and its mask, it is picked there instead. `seams` is the translated volume that was
    segmented: the loss of IoU within `near` voxels of its tile borders is then measured too. Raises `BadInput` if the
    mask is empty or shapes or voxel sizes differ.
    """
    _check_settings(threshold, None if seams is None else near, least)
    thresholds_curve = curve(prediction, mask, block=block)
    auprc = measured(thresholds_curve.auprc())
    chosen, chosen_on = _threshold(thresholds_curve, threshold, validation, block)
    near_result = (
        {} if seams is None else {"near seams": _near_seams(prediction, mask, seams, chosen, near, block=block)}
    )
    exact = scores_at(prediction, mask, chosen, block=block)
    shared = shared_objects(prediction, mask, threshold=chosen, parting=parting, block=block)
    return {
        "threshold": chosen,
        "threshold chosen on": chosen_on,
        "iou": measured(exact["iou"]),
        "dice": measured(exact["dice"]),
        "auprc": auprc,
        "instances": "components" if parting is None else f"watershed, depth {parting.depth:g}",
        **near_result,
        **_objects(shared, mask, least, block),
    }


def _check_settings(threshold: float | Literal["best"], near: int | None, least: int | None) -> None:
    """Raise `BadInput` for invalid settings, before anything is read."""
    if least is not None and least < 1:
        raise BadInput(f"`least` {least}: the minimum object size must be 1 voxel or more")
    if threshold != "best" and not 0 <= threshold <= 1:
        raise BadInput(f"a threshold of {threshold:g} is not a probability: use 0 to 1, or best")
    if near is not None and near < 1:
        raise BadInput(f"`near` {near}: the distance from a seam must be 1 voxel or more")


def _threshold(
    thresholds_curve: Curve,
    threshold: float | Literal["best"],
    validation: tuple[Volume, Volume] | None,
    block: Shape | None,
) -> tuple[float, str]:
    """Return the threshold and its origin."""
    if validation is not None:
        return curve(*validation, block=block).best_threshold(), f"{validation[0].path} and {validation[1].path}"
    if threshold == "best":
        return thresholds_curve.best_threshold(), "the same mask: optimistic"
    return float(threshold), "given"


def _near_seams(
    prediction: Volume, mask: Volume, seams: Volume, threshold: float, near: int, *, block: Shape | None
) -> dict[str, Any]:
    """Return IoU near the seams of a translated volume minus IoU elsewhere, compared with shifted grids."""
    if seams.spatial != prediction.spatial:
        raise BadInput(
            f"{seams.path} has {seams.spatial} voxels, {prediction.path} {prediction.spatial}: "
            "give the translated volume that was segmented"
        )
    planes = seam_planes(seams)
    if not any(planes):
        raise BadInput(
            f"{seams.path} does not record tile borders: give a volume that vol2vol predict made from several tiles"
        )
    loss = near_seams(prediction, mask, planes, threshold=threshold, width=near, block=block)
    return {
        "seams": {axis: len(positions) for axis, positions in zip("zyx", planes, strict=True)},
        "voxels": near,
        "iou near": loss.near,
        "iou elsewhere": loss.interior,
        "near minus elsewhere": loss.near - loss.interior,
        "the same of shifted grids": sum(loss.shifted) / len(loss.shifted),
        "effect": measured(loss.effect),
    }


def _objects(shared: Contingency, mask: Volume, least: int | None, block: Shape | None) -> dict[str, Any]:
    """Return the scores and counts of objects, and the number of objects that were too small to count."""
    smallest = tenth_of_median(shared) if least is None else least
    kept = shared.at_least(smallest)
    scores = object_scores(kept, mask, block=block)
    return {
        "adapted rand error": measured(object_scores(shared, mask, block=block)["rand_error"]),
        "left out": {
            "smaller than, voxels": smallest,
            "from": "a tenth of the median true object" if least is None else "given",
            "predicted": len(shared.predicted) - len(kept.predicted),
            "true": len(shared.truth) - len(kept.truth),
        },
        "objects": {
            f"{level:g}": {
                **plain(objects(kept, level)),
                "f1": measured(scores[f"f1_{round(100 * level)}"]),
                "average precision": measured(scores[f"ap_{round(100 * level)}"]),
            }
            for level in LEVELS
        },
        "count": {
            "predicted": len(kept.predicted),
            "true": len(kept.truth),
            "ratio": measured(scores["count_ratio"]),
            "error": measured(scores["count_error"]),
        },
    }
