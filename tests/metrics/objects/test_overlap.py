"""Overlap against scikit-learn, MONAI and counting; thresholds, empty masks, and what seams cost."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import metrics as oracle
from tests.metrics.stored import store

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Resampling
from vol2vol.metrics.objects.overlap import average_precision, curve, dice, iou, near_seams, scores_at


def draw(shape=(11, 23, 19), seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    truth = (ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.03).astype(np.uint8)
    p = np.clip(0.3 + 0.4 * truth + rng.normal(size=shape) * 0.2, 0, 1)
    return (p.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(p * np.iinfo(dtype).max).astype(dtype)), truth


@pytest.fixture(params=["float32", "uint8", "uint16"])
def pair(request, tmp_path):
    p, truth = draw(dtype=request.param)
    scale = 1 if p.dtype.kind == "f" else np.iinfo(p.dtype).max
    return p / scale, truth, store(tmp_path / "some prediction é.zarr", p), store(tmp_path / "truth.zarr", truth)


@pytest.mark.parametrize("block", [None, (4, 7, 5)])
def test_agrees_with_scikit_learn(pair, block):
    p, truth, prediction, real = pair
    counts = curve(prediction, real, block=block)
    exact = prediction.dtype == np.uint8
    want = oracle.average_precision_score(truth.ravel(), p.ravel())
    assert counts.auprc().value == pytest.approx(want, abs=1e-12 if exact else 1e-4)
    for threshold in (0.25, 0.5, 0.75):
        mask = (p >= threshold).ravel()
        assert counts.score("iou", threshold).value == pytest.approx(oracle.jaccard_score(truth.ravel(), mask))
        assert counts.score("dice", threshold).value == pytest.approx(oracle.f1_score(truth.ravel(), mask))
    assert counts.foreground == truth.sum()


@pytest.mark.parametrize("stored", ["float32", "mask of 0 and 1", "mask of 0 and 255"])
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.99999, 1.0])
def test_scores_are_those_at_exactly_the_threshold(tmp_path, stored, threshold):
    p, truth = draw((6, 20, 20))
    if stored == "float32":
        p[0, 0] = np.nextafter(np.float32(threshold), np.float32(0))  # below it, and in the bin above its edge
        values, p = p, p.astype(np.float64)
    else:
        values, p = (p > 0.6).astype(np.uint8) * (1 if stored.endswith("1") else 255), (p > 0.6).astype(np.float64)
    prediction, real = store(tmp_path / "p.zarr", values), store(tmp_path / "t.zarr", truth)
    scores, chosen = scores_at(prediction, real, threshold, block=(4, 7, 9)), p >= threshold
    both = (chosen & (truth > 0)).sum()
    assert scores["iou"].value == both / (chosen | (truth > 0)).sum()
    assert scores["dice"].value == pytest.approx(2 * both / (chosen.sum() + truth.sum()), rel=1e-12)


@pytest.mark.parametrize("bins", [256, 4096])
@pytest.mark.parametrize("threshold", [0.99999, 1.0])
def test_certainty_is_at_every_threshold(tmp_path, bins, threshold):
    _, truth = draw()
    perfect = store(tmp_path / "truth.zarr", truth)
    assert curve(perfect, perfect, bins=bins).score("iou", threshold).value == 1
    assert scores_at(perfect, perfect, threshold)["dice"].value == 1


def test_agrees_with_monai(pair):
    from monai.metrics import DiceMetric, MeanIoU

    p, truth, prediction, real = pair
    tensors = [torch.from_numpy(v.astype(np.float32))[None, None] for v in (p >= 0.5, truth)]
    counts = curve(prediction, real)
    for metric, name in ((DiceMetric(), "dice"), (MeanIoU(), "iou")):
        assert counts.score(name, 0.5).value == pytest.approx(float(metric(*tensors)), rel=1e-6)


def test_best_threshold_is_the_best_of_all(pair):
    p, truth, prediction, real = pair
    counts = curve(prediction, real)
    best = counts.best_threshold("iou")
    every = [oracle.jaccard_score(truth.ravel(), (p >= t).ravel()) for t in np.arange(1, 256) / 256]
    assert counts.score("iou", best).value >= max(every) - 1e-12
    assert counts.best_threshold("dice") == best


@given(
    counts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8).filter(
        lambda c: sum(f for _, f in c)
    )
)
def test_average_precision_is_scikit_learns_for_any_histogram(counts):
    labels, scores = [], []
    for i, (wrong, right) in enumerate(counts):
        labels += [0] * wrong + [1] * right
        scores += [i] * (wrong + right)
    got = average_precision(np.array(counts).T)
    assert got == pytest.approx(oracle.average_precision_score(labels, scores), abs=1e-12)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_scores_of_counts(hit, wrong, missed):
    counts = np.array([hit, wrong, missed])
    if hit + wrong + missed:
        assert iou(counts) == pytest.approx(hit / (hit + wrong + missed))
        assert dice(counts) == pytest.approx(2 * hit / (2 * hit + wrong + missed))
    else:
        assert iou(counts) == dice(counts) == 1


def test_empty_masks_are_defined_or_refused(tmp_path):
    none, some = np.zeros((3, 5, 5), np.uint8), np.zeros((3, 5, 5), np.uint8)
    some[1, 2, 2] = 1
    volumes = {n: store(tmp_path / f"{n}.zarr", v) for n, v in (("none", none), ("some", some))}
    assert curve(volumes["none"], volumes["none"]).score("iou", 0.5).value == 1
    assert curve(volumes["some"], volumes["none"]).score("dice", 0.5).value == 0
    assert curve(volumes["none"], volumes["some"]).score("iou", 0.5).value == 0
    empty = curve(volumes["some"], volumes["none"])
    with pytest.raises(BadInput, match="the truth is empty"):
        empty.auprc()
    with pytest.raises(BadInput, match="choice of a threshold needs foreground"):
        empty.best_threshold()


def test_masks_of_one_and_of_255_and_bools_are_the_same(tmp_path):
    p, truth = draw()
    mask = (p > 0.5).astype(np.uint8)
    real = store(tmp_path / "t.zarr", truth)
    totals = [
        curve(store(tmp_path / f"{i}.zarr", v), real).score("iou", 0.5).value
        for i, v in enumerate((mask, mask * 255, mask.astype(np.float32), mask.astype(np.int32)))
    ]
    assert totals == [pytest.approx(oracle.jaccard_score(truth.ravel(), mask.ravel()))] * 4


def test_intervals_and_pairs(tmp_path):
    p, truth = draw((16, 32, 32))
    real = store(tmp_path / "t.zarr", truth)
    worse = np.clip(p + np.random.default_rng(1).normal(size=p.shape).astype(np.float32) * 0.3, 0, 1)
    first, second = (
        curve(store(tmp_path / f"{n}.zarr", v), real, block=(8, 8, 8)) for n, v in (("a", p), ("b", worse))
    )
    better = first.score("iou", 0.5).against(second.score("iou", 0.5))
    assert 0 < better.low < better.value < better.high
    assert better.blocks == 32
    assert first.auprc().against(second.auprc()).low > 0


def test_bad_input(tmp_path):
    p, truth = draw()
    real = store(tmp_path / "t.zarr", truth)
    with pytest.raises(BadInput, match="not probabilities"):
        curve(store(tmp_path / "l.zarr", p * 3 - 1), real)
    holed = p.copy()
    holed[2, 3, 4] = np.nan
    with pytest.raises(BadInput, match="not probabilities"):
        curve(store(tmp_path / "n.zarr", holed), real)
    with pytest.raises(BadInput, match="has shape"):
        curve(store(tmp_path / "s.zarr", p[:5]), real)


def zone(truth, planes, width, offset):
    near = np.zeros(truth.shape, bool)
    for axis, positions in enumerate(planes):
        step = positions[1] - positions[0] if len(positions) > 1 else 0
        for p in ([positions[0] - step, *positions] if step and offset else positions) if len(positions) else ():
            cut = [slice(None)] * 3
            cut[axis] = slice(max(0, p + offset - width), max(0, p + offset + width))
            near[tuple(cut)] = True
    return near


def brute(mask, truth, planes, width, offset):
    near, counts = zone(truth, planes, width, offset), np.ones(truth.shape, bool)
    if offset:
        counts = ~zone(truth, planes, width, 0)
    return [oracle.jaccard_score(truth[m & counts], mask[m & counts]) for m in (near, ~near)]


@pytest.mark.parametrize("block", [None, (7, 9, 11)])
@pytest.mark.parametrize("planes", [([8], [16, 32], [16, 32]), ([], [16, 32], [])])
def test_near_seams_agree_with_counting(tmp_path, block, planes):
    p, truth = draw((16, 48, 48))
    volumes = store(tmp_path / "p.zarr", p), store(tmp_path / "t.zarr", truth)
    overlap = near_seams(*volumes, planes, width=2, shifts=5, block=block)
    near, interior = brute(p >= 0.5, truth, planes, 2, 0)
    assert (overlap.near, overlap.interior) == pytest.approx((near, interior))
    assert overlap.effect.value == pytest.approx(near - interior - np.mean(overlap.shifted))
    assert len(overlap.shifted) == 5
    for offset, value in zip((4, 6, 8, 10, 12), overlap.shifted, strict=True):
        a, b = brute(p >= 0.5, truth, planes, 2, offset)
        assert value == pytest.approx(a - b)


def test_seams_that_cost_overlap_are_found_and_others_are_not(tmp_path):
    planes, intervals = ([], [32, 64], [32, 64]), []
    for seed in range(12):
        p, truth = draw((12, 96, 96), seed)
        real = store(tmp_path / f"t{seed}.zarr", truth)
        overlap = near_seams(store(tmp_path / f"p{seed}.zarr", p), real, planes, width=4, shifts=9, block=(12, 24, 24))
        interval = overlap.effect.interval(Resampling(resamples=300))
        intervals.append(interval.low <= 0 <= interval.high)
    assert sum(intervals) >= 9
    for y in (32, 64):
        p[:, y - 3 : y + 3] = 0.1
        p[:, :, y - 3 : y + 3] = 0.1
    seams = near_seams(store(tmp_path / "b.zarr", p), real, planes, width=4, shifts=9, block=(12, 24, 24))
    assert seams.near < 0.4 < seams.interior
    assert seams.effect.interval().high < -0.2


def test_what_seams_cost_is_counted_once(tmp_path):
    """Shifted grids cross the true one: what is lost there is no part of what they are said to lose."""
    rng = np.random.default_rng(5)
    truth = np.ones((96, 96, 96), np.uint8)
    planes = ([32, 64],) * 3
    near = np.zeros(truth.shape, bool)
    for axis in range(3):
        for plane in (32, 64):
            near |= (abs(np.arange(96) - plane + 0.5) < 4).reshape([-1 if a == axis else 1 for a in range(3)])
    p = (rng.random(truth.shape) < np.where(near, 0.5, 0.9)).astype(np.float32)
    overlap = near_seams(store(tmp_path / "p.zarr", p), store(tmp_path / "t.zarr", truth), planes, width=4, shifts=5)
    assert overlap.near - overlap.interior == pytest.approx(-0.4, abs=0.01)
    assert overlap.effect.value == pytest.approx(-0.4, abs=0.01)


def test_near_seams_need_room(tmp_path):
    real = store(tmp_path / "t.zarr", draw((4, 40, 40))[1])
    with pytest.raises(BadInput, match="20 voxels apart leave no room for shifted grids with 8 voxels"):
        near_seams(real, real, ([], [10, 30], []), width=8)
    with pytest.raises(BadInput, match="needs seams"):
        near_seams(real, real, ([], [], []))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "int32"])
def test_numbers_of_objects_are_no_probabilities(tmp_path, kind):
    labels = np.zeros((4, 9, 9), kind)
    labels[:2, :3], labels[2:, 5:] = 7, 37
    prediction, truth = (
        store(tmp_path / "labels.zarr", labels),
        store(tmp_path / "truth.zarr", (labels > 0).astype(np.uint8)),
    )
    with pytest.raises(BadInput, match=r"labels\.zarr holds 0 to 37.*instance labels.*prepare `binarise`"):
        curve(prediction, truth)


def test_faint_probabilities_of_a_prediction_are_still_some(tmp_path):
    faint = np.full((2, 8, 8), 20, np.uint8)
    prediction, truth = store(tmp_path / "faint.zarr", faint), store(tmp_path / "truth.zarr", np.ones_like(faint))
    with pytest.raises(BadInput, match="holds 0 to 20 in uint8"):
        curve(prediction, truth)
    prediction.set_attrs({"vol2vol": {"complete": True}})
    assert curve(prediction, truth).score("iou", 0.5).value == 0
    assert curve(prediction, truth).score("iou", 0.05).value == 1
    timid = store(tmp_path / "timid.zarr", np.ones_like(faint))
    assert curve(timid, truth).score("iou", 0.5).value == 1  # a mask, for all that is known
    timid.set_attrs({"vol2vol": {"complete": True}})
    assert curve(timid, truth).score("iou", 0.5).value == 0
