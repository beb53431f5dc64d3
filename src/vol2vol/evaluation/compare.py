"""Judge stored volumes: fidelity to a truth or a source, overlap with a mask; every answer plain data.

NaN and infinities become None, so that every result can be written as JSON.
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
ALIKE: tuple[Need, ...] = ("source", "truth", "mask")
"""What measures need that has an output's shape."""
NEAR = 8
"""Voxels on either side of a seam that count as near it."""


def plain(value: Any) -> Any:
    """Return data as JSON knows it: dataclasses become mappings, numbers that are not finite None."""
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

    PSNR and SSIM are relative to `data_range`, by default the truth's maximum minus its minimum; the result says which.
    Raises `BadInput` where shapes or voxel sizes differ, the truth is constant or `data_range` is not above 0.
    """
    alike(output, truth)
    if data_range is not None and not 0 < data_range < math.inf:
        raise BadInput(f"--data-range {data_range:g} must be a number above 0, such as 4095 for 12 bits")
    warn_of_ranges(output, truth)
    used, origin = (span(truth), "maximum minus minimum of the truth") if data_range is None else (data_range, "given")
    scores = to_truth(output, truth, data_range=used, block=block)
    return {"data range": used, "data range from": origin} | {name: measured(one) for name, one in scores.items()}


def warn_of_ranges(output: Volume, reference: Volume) -> None:
    """Warn where two volumes whose grey values are compared as they are stored have other ranges."""
    if words := apart(output, reference):
        log.warning("%s: differences of stored values measure this above all; vol2vol prepare --range rescales", words)


def evaluate_structure(source: Volume, output: Volume, *, block: Shape | None = None) -> dict[str, Any]:
    """Say how much of a source's structure an output keeps: LNCC, correlation of gradients, NMI, with intervals.

    Raises `BadInput` where shapes or voxel sizes differ or a volume is constant.
    """
    return evaluate_measure("structure", output, {"source": source}, block=block)


def measurable() -> list[Measure]:
    """Return the measures that need nothing but stored volumes."""
    return [measure for measure in measures() if {*measure.needs} <= {*ALIKE, "target"}]


def evaluate_measure(
    name: str, output: Volume, given: Mapping[Need, Volume], *, block: Shape | None = None
) -> dict[str, Any]:
    """Take a measure of the list of an output: its values by key, with intervals, and what it says in words.

    `given` holds the volumes that it needs, of `source`, `truth`, `mask` and `target`. Raises `BadInput` where the
    measure is unknown or needs something else, and where the first three differ from the output in shape or voxel size.
    """
    if name not in {one.name for one in measurable()}:
        known = ", ".join(one.name for one in measurable())
        raise BadInput(f"measure {name!r} cannot be taken of stored volumes: use one of {known}")
    measure = MEASURES[name]
    if {*given} != {*measure.needs}:
        raise BadInput(f"measure {name} needs {' and '.join(measure.needs) or 'the output alone'}: give that, no more")
    for need in ALIKE:
        if need in given:
            alike(given[need], output)
    provide: dict[Need, Callable[[], Any]] = {need: partial(given.__getitem__, need) for need in given}
    taken = measure.take(Subject(volume=output, block=block, provide=provide))
    values = {key: _told(number) for key, number in taken.values.items()}
    return values | ({"in words": {key or name: note for key, note in taken.notes.items()}} if taken.notes else {})


def _told(number: Number) -> Any:
    """Return a number of a measure as plain data."""
    if isinstance(number, Blockwise):
        return measured(number)
    return plain(number._asdict() if isinstance(number, Bounded) else number)


def measured(value: Blockwise) -> dict[str, Any]:
    """Return a metric with its 95 % block-bootstrap interval, which needs two blocks and is None without."""
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

    Objects are connected components, with `parting` those of a watershed. Those of fewer than `least` voxels, by
    default a tenth of the median true object, are left out on both sides, but for the adapted Rand error, which counts
    pairs of voxels. `best` picks the threshold of highest IoU on this very mask, which flatters; `validation`, another
    prediction and its mask, is where it is picked instead. `seams` is the translated volume that was segmented: what is
    lost within `near` voxels of where its tiles meet. Raises `BadInput` on an empty mask and where shapes or voxel
    sizes differ.
    """
    _refuse_senseless(threshold, None if seams is None else near, least)
    counted = curve(prediction, mask, block=block)
    auprc = measured(counted.auprc())
    chosen, chosen_on = _threshold(counted, threshold, validation, block)
    beside = {} if seams is None else {"near seams": _near_seams(prediction, mask, seams, chosen, near, block=block)}
    exact = scores_at(prediction, mask, chosen, block=block)
    shared = shared_objects(prediction, mask, threshold=chosen, parting=parting, block=block)
    return {
        "threshold": chosen,
        "threshold chosen on": chosen_on,
        "iou": measured(exact["iou"]),
        "dice": measured(exact["dice"]),
        "auprc": auprc,
        "instances": "components" if parting is None else f"watershed, depth {parting.depth:g}",
        **beside,
        **_objects(shared, mask, least, block),
    }


def _refuse_senseless(threshold: float | Literal["best"], near: int | None, least: int | None) -> None:
    """Raise `BadInput`, before anything is read, for settings that make no sense."""
    if least is not None and least < 1:
        raise BadInput(f"objects of at least {least} voxels are all objects and more: use 1 or above")
    if threshold != "best" and not 0 <= threshold <= 1:
        raise BadInput(f"a threshold of {threshold:g} is not a probability: use 0 to 1, or best")
    if near is not None and near < 1:
        raise BadInput(f"{near} voxels near a seam are none: use 1 or above")


def _threshold(
    counted: Curve,
    threshold: float | Literal["best"],
    validation: tuple[Volume, Volume] | None,
    block: Shape | None,
) -> tuple[float, str]:
    """Return a threshold and where it comes from."""
    if validation is not None:
        return curve(*validation, block=block).best_threshold(), f"{validation[0].path} and {validation[1].path}"
    if threshold == "best":
        return counted.best_threshold(), "the same mask: optimistic"
    return float(threshold), "given"


def _near_seams(
    prediction: Volume, mask: Volume, seams: Volume, threshold: float, near: int, *, block: Shape | None
) -> dict[str, Any]:
    """Return IoU near the seams of a translated volume minus elsewhere, against shifted grids."""
    if seams.spatial != prediction.spatial:
        raise BadInput(
            f"{seams.path} has {seams.spatial} voxels, {prediction.path} {prediction.spatial}: "
            "name the translated volume that was segmented"
        )
    planes = seam_planes(seams)
    if not any(planes):
        raise BadInput(
            f"{seams.path} does not say where tiles meet in it: name a volume that vol2vol predict made of several"
        )
    found = near_seams(prediction, mask, planes, threshold=threshold, width=near, block=block)
    return {
        "seams": {axis: len(one) for axis, one in zip("zyx", planes, strict=True)},
        "voxels": near,
        "iou near": found.near,
        "iou elsewhere": found.interior,
        "near minus elsewhere": found.near - found.interior,
        "the same of shifted grids": sum(found.shifted) / len(found.shifted),
        "effect": measured(found.effect),
    }


def _objects(shared: Contingency, mask: Volume, least: int | None, block: Shape | None) -> dict[str, Any]:
    """Return which objects were found, how they were counted, and how many were too small to count."""
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
