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
from vol2vol.metrics.grid import Grid
from vol2vol.metrics.instances import Contingency, shared_objects
from vol2vol.metrics.objects import objects
from vol2vol.metrics.overlap import curve
from vol2vol.metrics.pairs import alike
from vol2vol.metrics.scores import LEVELS, object_scores
from vol2vol.metrics.seams import SeamReport, seam_tests
from vol2vol.metrics.watershed import Parting
from vol2vol.plans import Plan
from vol2vol.volumes import Volume


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

    Without `grid` the tiles are those that the volume says it was made with. Raises `BadInput` where it says nothing.
    """
    if blind:
        if source is not None or grid is not None:
            raise BadInput("a blind test knows neither source nor grid: leave out --blind, or --source and --step")
        return comb_test(volume)
    grids = [grid] if grid is not None else grids_of(volume)
    if not grids:
        raise BadInput(f"{volume.path} does not say how it was tiled: give --step Z,Y,X (and --origin), or --blind")
    return [seam_tests(volume, one, source=source) for one in grids]


def grids_of(volume: Volume) -> list[Grid]:
    """Return the grids of a volume's prediction, one per pass that differs; empty where it was not predicted.

    Raises `BadInput` where what it says of itself cannot be read.
    """
    made = volume.attrs.get("vol2vol")
    if not isinstance(made, dict) or not made.get("layout"):
        return []
    layout = made["layout"]
    try:
        start, whole = layout["region"]["start"], layout["spatial"]
        period = made.get("footprint", {}).get("period", ())
        grids = [_grid(one, one["planes"] / whole[0], start, period) for one in layout["passes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{volume.path} says in no readable way how it was tiled ({error}): give --step") from None
    return list(dict.fromkeys(grids))


def _grid(one: dict[str, Any], stretch: float, start: Shape, period: Sequence[int]) -> Grid:
    """Return the grid of one pass in voxels of the output, which starts at `start`.

    Across a z axis that was stretched for the network by a factor that does not divide its tiles, seams are not on
    planes; their step is then longer than any volume, which leaves the axis untested.
    """
    grid = Grid.of(Plan.from_dict(one["plan"]))
    step, origin, overlap = ([*part] for part in (grid.step, grid.origin, grid.overlap))
    repeats = [int(n) for n in period] or [1] * 3
    if len(repeats) == 2:
        repeats.insert(one["planar"] or 0, 1)
    if stretch != 1:
        exact = (step[0] / stretch).is_integer() and (origin[0] / stretch).is_integer()
        step[0], origin[0] = (int(step[0] / stretch), int(origin[0] / stretch)) if exact else (1 << 40, 0)
        overlap[0] = math.ceil(overlap[0] / stretch)
        repeats[0] = max(1, round(repeats[0] / stretch))
    moved = tuple((o - a) % s for o, a, s in zip(origin, start, step, strict=True))
    return Grid(step=tuple(step), origin=moved, overlap=tuple(overlap), period=tuple(repeats))


def seam_sentence(report: SeamReport | CombReport) -> str:
    """Say in one sentence what the tests found."""
    if isinstance(report, CombReport):
        hits = [f"every {row.step} voxels along {row.axis}" for row in report.rows if row.verdict == "seam"]
    else:
        hits = [f"{row.axis} ({row.test} {row.statistic:.4g})" for row in report.rows if row.verdict == "seam"]
    if hits:
        return f"Seams: {', '.join(hits)}."
    if report.verdict == "none found":
        return "No regular seams found; the blind test is weaker than one that knows the tiles."
    if report.verdict == "undecided":
        return "No seam found, but the volume is too small or too noisy to show that there is none."
    if report.verdict == "not tested":
        return f"Not tested: {next(iter({row.reason for row in report.rows} - {''}), 'no axis has seams')}."
    return f"No seam found: {report.verdict}."


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
    parting: Parting | None = None,
    least: int = 1,
    block: Shape | None = None,
) -> dict[str, Any]:
    """Compare a predicted probability with a mask: IoU, Dice, AUPRC, adapted Rand error, objects found and counted.

    Objects are connected components, with `parting` those of a watershed; counted are those of at least `least`
    voxels. `best` picks the threshold of highest IoU on this very mask, which flatters. Raises `BadInput` on an empty
    mask and where shapes or voxel sizes differ.
    """
    if least < 1:
        raise BadInput(f"objects of at least {least} voxels are all objects and more: use 1 or above")
    counted = curve(prediction, mask, block=block)
    auprc = measured(counted.auprc())
    chosen = counted.best_threshold() if threshold == "best" else float(threshold)
    if not 0 <= chosen <= 1:
        raise BadInput(f"a threshold of {chosen:g} is no probability: use 0 to 1, or best")
    shared = shared_objects(prediction, mask, threshold=chosen, parting=parting, block=block)
    scores = object_scores(shared, mask, least=least, block=block)
    return {
        "threshold": chosen,
        "threshold chosen on": "the same mask: optimistic" if threshold == "best" else "given",
        "iou": measured(counted.score("iou", chosen)),
        "dice": measured(counted.score("dice", chosen)),
        "auprc": auprc,
        "instances": "components" if parting is None else f"watershed, depth {parting.depth:g}",
        "adapted rand error": measured(scores["rand_error"]),
        **_found(shared, scores, least),
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
