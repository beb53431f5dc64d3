"""Judge stored volumes: seams, fidelity to a truth or a source, overlap with a mask; every answer plain data.

NaN and infinities become None, so that every result can be written as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Literal

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.comb import CombReport, comb_test
from vol2vol.metrics.fidelity import to_source, to_truth
from vol2vol.metrics.grid import BETWEEN, Grid
from vol2vol.metrics.instances import Contingency, shared_objects
from vol2vol.metrics.objects import objects
from vol2vol.metrics.overlap import Curve, curve, near_seams, scores_at
from vol2vol.metrics.pairs import alike
from vol2vol.metrics.scores import LEVELS, object_scores
from vol2vol.metrics.seams import seam_tests
from vol2vol.metrics.verdicts import SeamReport, judge_together
from vol2vol.metrics.watershed import Parting
from vol2vol.plans import Plan
from vol2vol.volumes import Volume

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


def evaluate_seams(
    volume: Volume, source: Volume | None = None, *, grid: Grid | None = None, blind: bool = False
) -> list[SeamReport] | CombReport:
    """Test a volume for seams: one report per pass of its prediction, or per given grid; blind for equal spacings.

    Without `grid` the tiles are those that the volume says it was made with. The reports' p are corrected for the tests
    of all of them. Raises `BadInput` where the volume says nothing.
    """
    if blind:
        if source is not None or grid is not None:
            raise BadInput("a blind test knows neither source nor grid: leave out --blind, or --source and --step")
        return comb_test(volume)
    grids = [grid] if grid is not None else grids_of(volume)
    if not grids:
        raise BadInput(f"{volume.path} does not say how it was tiled: give --step Z,Y,X (and --origin), or --blind")
    return judge_together([seam_tests(volume, one, source=source) for one in grids])


def grids_of(volume: Volume) -> list[Grid]:
    """Return the grids of a volume's prediction, one per pass that differs; empty where it was not predicted.

    Raises `BadInput` where what it says of itself cannot be read.
    """
    made = volume.attrs.get("vol2vol")
    if not isinstance(made, dict) or not made.get("layout"):
        return []
    layout = made["layout"]
    try:
        period = made.get("footprint", {}).get("period", ())
        grids = [_grid(one, layout, period) for one in layout["passes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{volume.path} says in no readable way how it was tiled ({error}): give --step") from None
    return list(dict.fromkeys(grids))


def _grid(one: dict[str, Any], layout: dict[str, Any], period: Sequence[int]) -> Grid:
    """Return the grid of one pass in voxels of the output, which starts where its region does."""
    grid, start = Grid.of(Plan.from_dict(one["plan"])), layout["region"]["start"]
    step, origin, overlap = ([*part] for part in (grid.step, grid.origin, grid.overlap))
    repeats = [int(n) for n in period] or [1] * 3
    if len(repeats) == 2:
        repeats.insert(one["planar"] or 0, 1)
    if (stretch := one["planes"] / layout["spatial"][0]) != 1:
        step[0], origin[0] = _unstretched(grid, one["planes"], layout)
        overlap[0] = math.ceil(overlap[0] / stretch)
        repeats[0] = max(1, round(repeats[0] / stretch))
    moved = tuple((o - a) % s for o, a, s in zip(origin, start, step, strict=True))
    return Grid(step=tuple(step), origin=moved, overlap=tuple(overlap), period=tuple(repeats))


def _unstretched(grid: Grid, planes: int, layout: dict[str, Any]) -> tuple[int, int]:
    """Return step and origin along a z axis that was stretched to so many planes for the network.

    Where the factor does not divide the tiles they meet between planes, if they meet within the region at all.
    """
    whole, region = layout["spatial"][0], layout["region"]
    step, origin = (part[0] * whole / planes for part in (grid.step, grid.origin))
    if grid.step[0] == 1 or (step.is_integer() and origin.is_integer()):
        return max(1, int(step)), int(origin)
    borders = grid.borders(planes, 0) * whole / planes
    met = ((region["start"][0] < borders) & (borders < region["stop"][0])).any()
    return (BETWEEN, 0) if met else (2 * whole, 0)


def seam_planes(volume: Volume) -> list[list[int]]:
    """Return where tiles of a predicted volume meet along Z, Y, X, in any of its passes.

    Raises `BadInput` where tiles of several passes have different steps, or what it says of them cannot be read.
    """
    grids = grids_of(volume)
    planes: list[list[int]] = []
    for axis, size in enumerate(volume.spatial):
        tiled = [grid for grid in grids if 1 < grid.step[axis] < size]
        if len({grid.step[axis] for grid in tiled}) > 1:
            raise BadInput(f"{volume.path} was made in passes of different tiles: near seams means nothing for it")
        planes.append(sorted({int(p) for grid in tiled for p in grid.borders(size, axis)}))
    return planes


def seam_sentence(report: SeamReport | CombReport) -> str:
    """Say in one sentence what the tests found."""
    if isinstance(report, CombReport):
        return _comb_sentence(report)
    hits = [f"{row.axis} ({row.test} {row.statistic:.4g})" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    tiled = [one for one in report.equivalence if one.tiled]
    if report.verdict == "not tested":
        reasons = [one.reason for one in tiled or report.equivalence]
        return f"Not tested: {'; '.join(dict.fromkeys(reasons))}."
    gaps = _untested(report)
    if {one.seam_free for one in tiled} == {"undecided"} and not gaps:
        return "No seam found, but the volume is too small or too noisy to show that there is none."
    if {one.seam_free for one in tiled} == {"yes"} and not gaps:
        return f"No seam found: {report.verdict}."
    return f"No seam found: {'; '.join([*_shown(report), *gaps])}."


def _comb_sentence(report: CombReport) -> str:
    hits = [f"every {row.step} voxels along {row.axis}" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    if report.verdict == "none found":
        return "No regular seams found; the blind test is weaker than one that knows the tiles."
    return f"Not tested: {'; '.join(dict.fromkeys(row.reason for row in report.rows))}."


def _shown(report: SeamReport) -> list[str]:
    """Say of which axes it is shown that they have no seam, which differ nevertheless, and which are open."""
    within, axes = f"{100 * report.margin:g} %", {one.axis: one.seam_free for one in report.equivalence if one.tiled}
    free, open_ = (", ".join(axis for axis in axes if axes[axis] == state) for state in ("yes", "undecided"))
    told = [f"seam-free within {within} along {free}"] if free else []
    for row in (report.row(axis, "SGR") for axis in axes if axes[axis] == "no"):
        far = f"{row.axis} is more than {within} from seamless (SGR {row.statistic:.4g})"
        shared = row.verdict == "in the source too"
        told.append(f"{far}, as the source is" if shared else f"{far}, but not significantly among all tests")
    return [*told, f"too small or too noisy to tell along {open_}"] if open_ else told


def _untested(report: SeamReport) -> list[str]:
    """Say which axes across which tiles meet were not tested, and which tests of the others, with the reasons."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for one in report.equivalence:
        rows = [row for row in report.rows if row.axis == one.axis and row.verdict == "not tested"]
        for row in rows if one.tiled else []:
            test = "" if one.seam_free == "not tested" else f"{row.test} of "
            if one.axis not in gaps.setdefault((test, row.reason), []):
                gaps[test, row.reason].append(one.axis)
    return [f"{test}{', '.join(axes)} not tested: {reason}" for (test, reason), axes in gaps.items()]


def evaluate_fidelity(output: Volume, truth: Volume, *, block: Shape | None = None) -> dict[str, Any]:
    """Compare an output with the known truth: PSNR, SSIM, Pearson, LNCC, mean absolute difference, with intervals.

    Raises `BadInput` where shapes or voxel sizes differ.
    """
    alike(output, truth)
    return {name: measured(value) for name, value in to_truth(output, truth, block=block).items()}


def evaluate_structure(source: Volume, output: Volume, *, block: Shape | None = None) -> dict[str, Any]:
    """Say how much of a source's structure an output keeps: LNCC, correlation of gradients, NMI, with intervals.

    Raises `BadInput` where shapes or voxel sizes differ or a volume is constant.
    """
    alike(source, output)
    return {name: measured(value) for name, value in to_source(source, output, block=block).items()}


def measured(value: Blockwise) -> dict[str, Any]:
    """Return a metric with its 95 % block-bootstrap interval, which needs two blocks and is None without."""
    if len(value.sums) < 2:
        return plain({"value": value.value, "low": None, "high": None, "blocks": len(value.sums)})
    found = value.interval()
    return plain({"value": found.value, "low": found.low, "high": found.high, "blocks": found.blocks})


def evaluate_overlap(
    prediction: Volume,
    mask: Volume,
    *,
    threshold: float | Literal["best"] = 0.5,
    validation: tuple[Volume, Volume] | None = None,
    seams: Volume | None = None,
    near: int = NEAR,
    parting: Parting | None = None,
    least: int = 1,
    block: Shape | None = None,
) -> dict[str, Any]:
    """Compare a predicted probability with a mask: IoU, Dice, AUPRC, adapted Rand error, objects found and counted.

    Objects are connected components, with `parting` those of a watershed; counted are those of at least `least`
    voxels. `best` picks the threshold of highest IoU on this very mask, which flatters; `validation`, another
    prediction and its mask, is where it is picked instead. `seams` is the translated volume that was segmented: what is
    lost within `near` voxels of where its tiles meet. Raises `BadInput` on an empty mask and where shapes or voxel
    sizes differ.
    """
    if least < 1:
        raise BadInput(f"objects of at least {least} voxels are all objects and more: use 1 or above")
    counted = curve(prediction, mask, block=block)
    auprc = measured(counted.auprc())
    chosen, chosen_on = _threshold(counted, threshold, validation, block)
    beside = {} if seams is None else {"near seams": _near_seams(prediction, mask, seams, chosen, near, block=block)}
    exact = scores_at(prediction, mask, chosen, block=block)
    shared = shared_objects(prediction, mask, threshold=chosen, parting=parting, block=block)
    scores = object_scores(shared, mask, least=least, block=block)
    return {
        "threshold": chosen,
        "threshold chosen on": chosen_on,
        "iou": measured(exact["iou"]),
        "dice": measured(exact["dice"]),
        "auprc": auprc,
        "instances": "components" if parting is None else f"watershed, depth {parting.depth:g}",
        "adapted rand error": measured(scores["rand_error"]),
        **beside,
        **_found(shared, scores, least),
    }


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
    if not 0 <= threshold <= 1:
        raise BadInput(f"a threshold of {threshold:g} is no probability: use 0 to 1, or best")
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
    if near < 1:
        raise BadInput(f"{near} voxels near a seam are none: use 1 or above")
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


def _found(shared: Contingency, scores: Mapping[str, Blockwise], least: int) -> dict[str, Any]:
    """Return which objects were found, and how they were counted."""
    return {
        "objects": {
            f"{level:g}": {
                **plain(objects(shared, level)),
                "f1": measured(scores[f"f1_{round(100 * level)}"]),
                "average precision": measured(scores[f"ap_{round(100 * level)}"]),
            }
            for level in LEVELS
        },
        "count": {
            "predicted": int((shared.predicted >= least).sum()),
            "true": int((shared.truth >= least).sum()),
            "least voxels": least,
            "ratio": measured(scores["count_ratio"]),
            "error": measured(scores["count_error"]),
        },
    }
