"""A study's folder made of numbers whose answers are known, and of small volumes to look at."""

from dataclasses import replace

import numpy as np
import yaml
from tests.report.small_volumes import SHAPE, attributes, plan, save, texture, tiles

from vol2vol.metrics.objects.overlap import average_precision, dice, iou
from vol2vol.report.rows.rows import Row, Value, append_row, read_rows

BLOCKS = 24
FID = "distance/encoder/fid/xy"
STRATEGIES = {"exact": 0.0, "average": -0.01, "disjoint": -0.04}
"""Strategies and what they cost in IoU."""
BASELINES = {"identity": 0.30, "meanstd": 0.42, "histogram": 0.50, "spectrum": 0.52}
BEST = 0.62
"""IoU of the best checkpoint, exact."""
CHECKPOINTS = {10: (-0.12, 60.0), 20: (0.0, 33.0), 30: (-0.02, 40.0)}
"""Epochs: what they do to IoU, and their FID."""


def overlap_sums(score, seed):
    """Return TP, FP, FN per block whose total comes to an IoU; blocks differ, and alike for all trials."""
    hard = 0.15 * np.random.default_rng(7).normal(size=BLOCKS)
    own = 0.01 * np.random.default_rng(seed).normal(size=BLOCKS)
    share = np.clip(score + hard + own - (hard + own).mean(), 0.02, 0.98)
    union = np.full(BLOCKS, 4000.0)
    hit = share * union
    return np.stack([hit, 0.6 * (union - hit), 0.4 * (union - hit)], axis=1)


def curve_sums(score, seed):
    """Return voxels of background and foreground per bin, flattened: the higher the score, the further apart."""
    rng = np.random.default_rng(seed)
    level = np.linspace(0, 1, 256)
    back = np.exp(-level * (4 + 8 * score)) * 9000
    fore = np.exp(-(1 - level) * (2 + 8 * score)) * 900
    scale = rng.uniform(0.8, 1.2, (BLOCKS, 1, 1))
    return np.rint(np.stack([back, fore])[None] * scale).reshape(BLOCKS, -1)


def near_sums(effect, seed):
    """Return counts near and far for 1 + 4 grids; the first loses `effect` near its seams."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((BLOCKS, 5, 2, 3))
    for grid in range(5):
        for place in range(2):
            share = 0.6 + (effect if (grid, place) == (0, 0) else 0.0) + 0.004 * rng.normal(size=BLOCKS)
            counts[:, grid, place] = 1000 * np.stack([share, (1 - share) / 2, (1 - share) / 2], axis=1)
    return counts.reshape(BLOCKS, -1)


def judged(score, trial_seed, *, near=None):
    """Return values and sums of two seeds of a segmenter."""
    values, sums = {}, {}
    for seed in (0, 1):
        name = f"segmentation/unet/{seed}"
        own = score + (0.01 if seed else -0.01)
        by_metric = {"iou": overlap_sums(own, trial_seed), "auprc": curve_sums(own, trial_seed)}
        by_metric["dice"] = by_metric["iou"]
        if near is not None:
            by_metric["near_seam"] = near_sums(near, trial_seed + seed)
        total = {metric: blocks.sum(0) for metric, blocks in by_metric.items()}
        values[f"{name}/iou"] = Value(value=float(iou(total["iou"])), low=score - 0.05, high=score + 0.05)
        values[f"{name}/dice"] = Value(value=float(dice(total["dice"])))
        values[f"{name}/auprc"] = Value(value=float(average_precision(total["auprc"].reshape(2, -1))))
        values[f"{name}/threshold"] = Value(value=0.5)
        if near is not None:
            values[f"{name}/near_seam"] = Value(value=near)
        sums |= {f"{name}/{metric}": blocks for metric, blocks in by_metric.items()}
    return values, sums


def distance(value):
    values = {FID: Value(value=value, low=value - 2, high=value + 2)}
    values |= {f"{FID}/{end}": Value(value=end_value) for end, end_value in (("floor", 5.0), ("ceiling", 65.0))}
    return values | {"distance/encoder/kid/xy": Value(value=value / 1000)}


def seams(strategy):
    ratio = {"exact": 1.002, "average": 0.93, "disjoint": 1.31}[strategy]
    p = 0.4 if strategy == "exact" else 0.002
    values = {f"seams/sgr/{axis}": Value(value=ratio) for axis in "yx"} | {
        f"seams/sgr/{axis}/p": Value(value=p) for axis in "yx"
    }
    values |= {f"seams/{test}/{axis}": Value(value=1 + 2 * abs(ratio - 1)) for test in ("sje", "hfr") for axis in "yx"}
    return values | {"mismatch/tile": Value(value=0.002 if strategy == "exact" else 0.08)}


def verdict(cost):
    return {"seams/verdict": "seams" if cost else "seam-free within 1 %", "seams": "Seams: y." if cost else "No seam."}


def costs(strategy):
    redundancy = {"exact": 2.8, "average": 1.4, "disjoint": 1.0}[strategy]
    return {
        "cost/parameters": Value(value=1.2e6),
        "cost/flops_per_voxel": Value(value=4e5 * redundancy),
        "cost/redundancy": Value(value=redundancy),
        "cost/seconds": Value(value=2.0 * redundancy),
        "cost/voxels_per_second": Value(value=1e5 / redundancy),
        "cost/peak_memory": Value(value=5.12e8),
        "cost/train_seconds_per_step": Value(value=0.1234),
        "cost/train_seconds": Value(value=5400.0),
        "cost/train_peak_memory": Value(value=3.21e9),
    }


def network_rows(source, target, translator, dims):
    """Yield rows and sums of a translator: two seeds, three checkpoints, three strategies."""
    for seed in (0, 1):
        for epoch, (worse, fid) in CHECKPOINTS.items():
            for number, (strategy, cost) in enumerate(STRATEGIES.items()):
                trial = f"{source}-to-{target}.{translator}.seed{seed}.epoch{epoch:04d}.{strategy}"
                values, sums = judged(BEST + worse + cost + 0.01 * seed, 100 * seed + epoch, near=cost)
                row = Row(
                    trial=trial, source=source, target=target, translator=translator, dims=dims, seed=seed,
                    checkpoint=epoch, strategy=strategy, assembly="slices" if dims == 2 else "volume",
                    values=values | distance(fid + seed + 0.1 * number) | seams(strategy) | costs(strategy),
                    notes=verdict(cost),
                )  # fmt: skip
                yield row, sums


def baseline_rows(source, target):
    """Yield the bound and the baselines."""
    values, sums = judged(0.8, 1)
    yield (
        Row(
            trial=f"{source}-to-{target}.in-domain",
            source=source,
            target=target,
            translator="in-domain",
            kind="bound",
            values=values,
        ),
        sums,
    )
    for number, (name, score) in enumerate(BASELINES.items()):
        values, sums = judged(score, 2 + number)
        row = Row(
            trial=f"{source}-to-{target}.{name}", source=source, target=target, translator=name, kind="baseline",
            values=values | distance(60.0 - 5 * number),
        )  # fmt: skip
        yield row, sums


def write(folder, *, directions=(("rat", "human"),), translators=(("flat", 2),), few=None):
    """Write a study without volumes; `few` trials of it alone."""
    folder.mkdir(parents=True, exist_ok=True)
    translator = {"recipe": "small-2d", "seeds": [0, 1], "strategies": {name: {} for name in STRATEGIES}}
    settings = {
        "name": "synthetic",
        "about": "Numbers that were made up.",
        "pairs": [list(pair) for pair in directions],
        "baselines": list(BASELINES),
        "picks": [{"by": FID, "lowest": True}],
        "translators": {name: translator for name, _ in translators},
        "segmenters": {"unet": {"recipe": "segment", "seeds": [0, 1]}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    rows = []
    for source, target in directions:
        rows += list(baseline_rows(source, target))
        for name, dims in translators:
            rows += list(network_rows(source, target, name, dims))
    for row, sums in rows[:few]:
        append_row(folder, row, sums)
    return folder


def add_failed(folder, reason="the disk is <b>full</b>"):
    row = Row(
        trial="rat-to-human.flat.broken",
        source="rat",
        target="human",
        translator="flat",
        status="failed",
        reason=reason,
    )
    append_row(folder, row)


def add_volumes(folder):
    """Give the rat's trials volumes, segmentations and everything that is shown beside them."""
    scene = texture(0)
    truth = scene > 160
    save(folder / "domains/rat/test.zarr", 60 + scene / 2)
    save(folder / "domains/rat/test-mask.zarr", truth)
    save(folder / "domains/rat/test-as-human.zarr", scene)
    save(folder / "domains/human/test.zarr", texture(1, (20, 80, 90)))
    plans = {"exact": plan(32, 32), "average": plan(40, 8), "disjoint": plan(40, 0)}
    for row in read_rows(folder):
        if row.source != "rat" or row.seed == 1:
            continue
        strength = {"average": 0.15, "disjoint": 1.0}.get(row.strategy, 0.0)
        worse = CHECKPOINTS[row.checkpoint][0] if row.checkpoint else -0.1
        noise = np.random.default_rng(row.checkpoint).normal(size=SHAPE)
        values = scene + 200 * worse * noise + strength * tiles(40, SHAPE[1])
        attrs = attributes(plans[row.strategy]) if row.strategy else {}
        volume = (
            f"volumes/{row.trial}.zarr"
            if row.kind == "network" or row.translator == "spectrum"
            else "domains/rat/test.zarr"
        )
        if volume.startswith("volumes/"):
            save(folder / volume, values, attrs)
        chance = 255 / (1 + np.exp((160 - values) / 12))
        seen = {f"unet/{seed}": f"segmentations/{row.trial}/unet-seed{seed}.zarr" for seed in (0, 1)}
        for path in seen.values():
            save(folder / path, chance, attrs)
        append_row(folder, replace(row, volume=volume, segmentations=seen))
    return folder
