"""Components against scipy, Rand against scikit-image, objects against brute force, in blocks of any size."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from tests.metrics.stored import store

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, grid
from vol2vol.metrics.objects.instances import (
    components,
    contingency,
    instances_of,
    shared_objects,
    stored_labels,
    tenth_of_median,
)
from vol2vol.metrics.objects.matching import adapted_rand, average_precision, objects, overlaps
from vol2vol.metrics.similarity.volume_pairs import blocks_of

sides = st.integers(1, 12)


def table(truth, predicted, block=(64, 64, 64)):
    boxes = grid(Box.of(truth.shape), block)
    return contingency(*((lambda box, a=a: a[box.slices]) for a in (truth, predicted)), boxes)


@given(
    shape=st.tuples(sides, sides, sides),
    block=st.tuples(*[st.integers(1, 7)] * 3),
    density=st.sampled_from([0.0, 0.2, 0.35, 0.6, 1.0]),
    neighbours=st.sampled_from([6, 18, 26]),
    seed=st.integers(0, 999),
)
@settings(max_examples=120, deadline=None)
def test_components_are_scipys_in_blocks_of_any_size(shape, block, density, neighbours, seed):
    mask = np.random.default_rng(seed).random(shape) < density
    boxes = grid(Box.of(shape), block)
    labelling = components(lambda box: mask[box.slices], shape, boxes, connectivity=neighbours)
    whole = np.zeros(shape, np.int64)
    for box in boxes:
        whole[box.slices] = labelling(box)
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[neighbours])
    want, count = ndimage.label(mask, structure)
    assert labelling.count == count
    assert len(set(zip(whole.ravel().tolist(), want.ravel().tolist(), strict=True))) == len(np.unique(want))
    assert ((whole > 0) == mask).all()
    assert whole.max() == count


def labels(shape, seed, sigma=1.5, level=0.3):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return ndimage.label(field > level * field.std())[0]


@given(seed=st.integers(0, 500), block=st.tuples(*[st.integers(3, 9)] * 3), noise=st.floats(0, 0.5))
@settings(max_examples=25, deadline=None)
def test_rand_is_scikit_images(seed, block, noise):
    truth = labels((9, 12, 11), seed)
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random(truth.shape) < noise, rng.integers(0, 5, truth.shape), truth)
    if np.bincount(truth.ravel())[1:].max(initial=0) < 2:
        return
    got = adapted_rand(table(truth, predicted, block))
    error, precision, recall = adapted_rand_error(truth, predicted)
    assert got.error == pytest.approx(error)
    # scikit-image 0.26 divides by the pairs of the truth where its documentation divides by those of the test image
    assert (got.recall, got.precision) == pytest.approx((precision, recall))


def test_rand_of_known_cases():
    truth = labels((9, 12, 11), 1)
    assert adapted_rand(table(truth, truth)).error == pytest.approx(0)
    merged = adapted_rand(table(truth, (truth > 0).astype(int)))
    assert merged.recall == pytest.approx(1)
    assert merged.precision < 0.9
    with pytest.raises(BadInput, match="the truth is empty"):
        adapted_rand(table(np.zeros_like(truth), truth))


def best_matching(table, threshold):
    """Try every assignment."""
    ious = np.zeros((len(table.truth), len(table.predicted)))
    dense = table.table.toarray()
    for i, j in np.ndindex(ious.shape):
        shared = dense[i + 1, j + 1]
        ious[i, j] = shared / (dense[i + 1].sum() + dense[:, j + 1].sum() - shared)
    if ious.shape[0] > ious.shape[1]:
        ious = ious.T
    return max(
        (sum(ious[i, j] >= threshold for i, j in enumerate(p)) for p in permutations(range(ious.shape[1]), len(ious))),
        default=0,
    )


@given(seed=st.integers(0, 999), threshold=st.sampled_from([0.1, 0.5, 0.75]))
@settings(max_examples=60, deadline=None)
def test_objects_are_matched_as_well_as_can_be(seed, threshold):
    rng = np.random.default_rng(seed)
    truth, predicted = (np.kron(rng.integers(0, 5, (3, 3, 3)), np.ones((2, 2, 2), int)) for _ in range(2))
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, predicted)
    shared = table(truth, predicted)
    scores = objects(shared, threshold)
    assert scores.found == best_matching(shared, threshold)
    assert scores.found + scores.missed == len(set(truth.ravel()) - {0})
    assert scores.found + scores.invented == len(set(predicted.ravel()) - {0})
    assert scores.surplus == len(set(predicted.ravel()) - {0}) - len(set(truth.ravel()) - {0})
    every = scores.found + scores.invented + scores.missed
    assert scores.accuracy == (scores.found / every if every else 1)


def test_two_halves_find_one_object_not_two():
    truth = np.zeros((1, 2, 8), int)
    truth[:] = 1
    halves = np.ones_like(truth)
    halves[..., 4:] = 2
    scores = objects(table(truth, halves), 0.5)
    assert (scores.found, scores.invented, scores.missed) == (1, 1, 0)
    assert scores.f1 == pytest.approx(2 / 3)
    assert objects(table(truth, halves), 0.75).f1 == 0


def test_average_precision_ranks_by_score():
    truth = np.zeros((1, 1, 40), int)
    predicted = np.zeros_like(truth)
    for i in range(3):
        truth[..., 10 * i : 10 * i + 5] = i + 1
    predicted[..., 0:5], predicted[..., 10:14], predicted[..., 35:38], predicted[..., 20:22] = 7, 8, 9, 11
    shared = table(truth, predicted)
    # by size: 7 hits, 8 hits (0.8), 9 misses, 11 misses (0.4): precision 1, 1 at recall 1/3, 2/3
    assert average_precision(shared, 0.5) == pytest.approx(2 / 3)
    assert average_precision(shared, 0.9) == pytest.approx(1 / 3)
    # 9 first: precision 1/2, 2/3, then nothing; made monotone 2/3, 2/3
    assert average_precision(shared, 0.5, np.array([3, 2, 9, 1])) == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert average_precision(shared, 0.4, np.array([3, 2, 9, 1])) == pytest.approx(3 * 3 / 4 / 3)
    assert overlaps(shared).toarray()[1, 1] == pytest.approx(0.8)
    with pytest.raises(BadInput, match="2 scores for 4 predicted objects"):
        average_precision(shared, 0.5, np.array([1, 2]))
    with pytest.raises(BadInput, match="the truth is empty"):
        average_precision(table(np.zeros_like(truth), predicted))


def test_no_objects_on_either_side():
    empty, full = np.zeros((2, 3, 4), int), np.ones((2, 3, 4), int)
    assert objects(table(empty, empty)).f1 == 1
    assert objects(table(full, empty)).f1 == objects(table(empty, full)).f1 == 0
    with pytest.raises(BadInput, match="overlap of 0"):
        objects(table(full, full), 0)


def test_specks_become_background():
    truth = labels((9, 12, 11), 1)
    specks = truth.copy()
    specks[0, 0, 0] = 99
    shared = table(truth, specks)
    clean = shared.at_least(2)
    assert len(clean.predicted) <= len(shared.predicted) - 1
    assert clean.table.sum() == shared.table.sum()
    np.testing.assert_array_equal(clean.truth, shared.truth[shared.truth >= 2])
    assert (clean.predicted >= 2).all()
    kept = np.where(np.isin(specks, np.flatnonzero(np.bincount(specks.ravel()) >= 2)), specks, 0)
    np.testing.assert_array_equal(clean.table.toarray(), table(truth, kept).table.toarray())
    assert len(shared.at_least(10**6).predicted) == len(shared.at_least(10**6).truth) == 0


def test_small_objects_become_background_on_both_sides():
    truth, predicted = labels((9, 12, 11), 1), labels((9, 12, 11), 2)
    whole = table(truth, predicted)
    sizes = np.sort(np.concatenate([whole.truth, whole.predicted]))
    least = int(sizes[len(sizes) // 2])
    kept = whole.at_least(least)

    def large(array):
        return np.where(np.isin(array, np.flatnonzero(np.bincount(array.ravel()) >= least)), array, 0)

    want = table(large(truth), large(predicted))
    assert 0 < len(kept.truth) < len(whole.truth)
    assert 0 < len(kept.predicted) < len(whole.predicted)
    np.testing.assert_array_equal(kept.table.toarray(), want.table.toarray())
    np.testing.assert_allclose(kept.truth_centres, want.truth_centres)
    np.testing.assert_allclose(kept.predicted_centres, want.predicted_centres)


@pytest.mark.parametrize(
    ("sizes", "least"), [((100, 1, 101), 10), ((1, 1, 5), 1), ((), 1), ((95,), 10), ((40000,), 4000)]
)
def test_noise_is_what_is_smaller_than_a_tenth_of_the_median_object(sizes, least):
    truth = np.repeat(np.arange(len(sizes) + 1), (7, *sizes)).reshape(1, 1, -1)
    assert tenth_of_median(table(truth, truth)) == least


def test_volumes_from_mask_to_scores(tmp_path):
    truth = labels((20, 30, 30), 3).astype(np.uint16)
    p = np.where(truth > 0, 200, 20).astype(np.uint8)
    given_labels, predicted = store(tmp_path / "é labels.zarr", truth), store(tmp_path / "p.zarr", p)
    boxes = blocks_of(predicted, (8, 16, 7))
    labelling = instances_of(predicted, boxes)
    assert labelling.count == truth.max()
    shared = contingency(stored_labels(given_labels), labelling, boxes)
    assert objects(shared, 0.75).f1 == 1
    assert adapted_rand(shared).error == pytest.approx(0)
    mask = store(tmp_path / "m.zarr", (truth > 0).astype(np.uint8))
    numbered = store(tmp_path / "numbers are foreground.zarr", truth)
    for real, own in ((given_labels, (False, True)), (mask, (False, False)), (numbered, (False, False))):
        same = shared_objects(predicted, real, labelled=own, block=(8, 16, 7))
        np.testing.assert_array_equal(np.sort(same.truth), np.sort(shared.truth))
        assert objects(same, 0.75).f1 == 1
    with pytest.raises(BadInput, match="a volume of one channel"):
        shared_objects(*[store(tmp_path / f"c{i}.zarr", np.stack([p, p])) for i in range(2)])
    with pytest.raises(BadInput, match="has shape"):
        shared_objects(predicted, store(tmp_path / "cut.zarr", truth[:9]))
    with pytest.raises(BadInput, match="one channel of integers"):
        stored_labels(store(tmp_path / "f.zarr", p.astype(np.float32)))
    with pytest.raises(BadInput, match="6, 18 or 26"):
        instances_of(predicted, boxes, connectivity=8)
    negative = store(tmp_path / "n.zarr", truth.astype(np.int16) - 1)
    with pytest.raises(BadInput, match="below 0"):
        contingency(stored_labels(negative), labelling, boxes)


def test_pairs_are_added_up_as_they_come(monkeypatch):
    truth, predicted = labels((9, 12, 11), 1), labels((9, 12, 11), 2)
    want = table(truth, predicted).table.toarray()
    monkeypatch.setattr("vol2vol.metrics.objects.instances.WAITING", 1)
    np.testing.assert_array_equal(table(truth, predicted, (2, 3, 2)).table.toarray(), want)
    monkeypatch.setattr("vol2vol.metrics.objects.instances.DENSE", 1)
    np.testing.assert_array_equal(table(truth, predicted, (2, 3, 2)).table.toarray(), want)
    assert want.sum() == truth.size


def test_large_labels_do_not_overflow():
    truth = labels((9, 12, 11), 1).astype(np.int64)
    huge = np.where(truth > 0, truth + 2**60, 0)
    assert adapted_rand(table(huge, huge)).error == pytest.approx(0)
    assert objects(table(huge, truth)).f1 == 1
