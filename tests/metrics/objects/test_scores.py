"""Scores per block: equal to the ones of the whole, paired, and intervals that cover as often as they say."""

import numpy as np
import pytest
from scipy import ndimage, sparse
from tests.metrics.stored import store

from vol2vol.metrics.bootstrap import Resampling
from vol2vol.metrics.objects.instances import Contingency, shared_objects
from vol2vol.metrics.objects.matching import adapted_rand, average_precision, objects
from vol2vol.metrics.objects.scores import COMBINE, object_scores, segmentation_scores

SHAPE, BLOCK = (24, 60, 64), (12, 20, 16)


def blobs(seed, level=1.0):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return field / field.std() > level, field / field.std()


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    truth, field = blobs(0)
    rng = np.random.default_rng(1)
    first, second = (
        np.clip(0.5 + 0.3 * (field - 1) + noise * ndimage.gaussian_filter(rng.normal(size=SHAPE), 1), 0, 1)
        for noise in (0.6, 1.2)
    )
    named = {"truth": truth.astype(np.uint8), "one": first.astype(np.float32), "two": second.astype(np.float32)}
    return {name: store(folder / f"{name}.zarr", array) for name, array in named.items()}


def test_blocks_add_up_to_the_scores_of_the_whole(volumes):
    scores = segmentation_scores(volumes["one"], volumes["truth"], block=BLOCK)
    shared = shared_objects(volumes["one"], volumes["truth"])
    assert set(scores) == set(COMBINE)
    assert {len(score.sums) for score in scores.values()} == {2 * 3 * 4}
    for level in (0.5, 0.75):
        name = round(100 * level)
        assert scores[f"f1_{name}"].value == pytest.approx(objects(shared, level).f1)
        assert scores[f"ap_{name}"].value == pytest.approx(average_precision(shared, level))
    assert 0.2 < scores["f1_50"].value < 1
    assert scores["rand_error"].value == pytest.approx(adapted_rand(shared).error)
    assert scores["count_ratio"].value == len(shared.predicted) / len(shared.truth)
    assert scores["count_error"].value == pytest.approx(abs(len(shared.predicted) / len(shared.truth) - 1))
    for score in scores.values():
        assert score.interval().low <= score.value <= score.interval().high


def test_objects_lie_in_the_block_of_their_centre(volumes):
    labels, count = ndimage.label(blobs(0)[0])
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))
    shared = shared_objects(volumes["truth"], volumes["truth"], block=BLOCK)
    order = np.lexsort(centres.T)
    np.testing.assert_allclose(centres[order], shared.truth_centres[np.lexsort(shared.truth_centres.T)])
    sums = object_scores(shared, volumes["truth"], block=BLOCK)["count_ratio"].sums
    index = np.ravel_multi_index(tuple((centres // BLOCK).astype(int).T), (2, 3, 4))
    np.testing.assert_array_equal(sums[:, 1], np.bincount(index, minlength=24))


def test_only_objects_of_some_size_are_counted(volumes):
    shared = shared_objects(volumes["two"], volumes["truth"], block=BLOCK)
    few = object_scores(shared, volumes["truth"], least=30, block=BLOCK)
    assert few["count_ratio"].value == (shared.predicted >= 30).sum() / (shared.truth >= 30).sum()
    assert few["f1_50"].value == objects(shared).f1


def test_two_predictions_of_one_truth_are_paired(volumes):
    first, second = (segmentation_scores(volumes[name], volumes["truth"], block=BLOCK) for name in ("one", "two"))
    for name in ("iou", "f1_50", "auprc", "ap_50"):
        apart = first[name].against(second[name])
        assert apart.value == pytest.approx(first[name].value - second[name].value)
        assert apart.low > 0
    assert first["rand_error"].against(second["rand_error"]).high < 0


def test_more_objects_than_ranks(volumes, monkeypatch):
    shared = shared_objects(volumes["two"], volumes["truth"], block=BLOCK)
    want = average_precision(shared)
    monkeypatch.setattr("vol2vol.metrics.objects.scores.RANKS", 40)
    assert len(shared.predicted) > 80
    got = object_scores(shared, volumes["truth"], block=BLOCK)["ap_50"]
    assert got.sums.shape[1] == 81
    assert got.value == pytest.approx(want, abs=0.02)


@pytest.mark.parametrize(("truth", "predicted"), [(0, 0), (0, 1), (1, 0)])
def test_nothing_on_one_side_or_both(tmp_path, truth, predicted):
    arrays = [np.full((4, 8, 8), value, np.uint8) for value in (predicted, truth)]
    volumes = [store(tmp_path / f"{i}.zarr", array) for i, array in enumerate(arrays)]
    scores = segmentation_scores(*volumes, block=(4, 4, 4))
    assert scores["f1_50"].value == scores["iou"].value == float(truth == predicted)
    assert ("auprc" in scores) == bool(truth)
    if truth:  # scikit-image takes the background for an object, which holds this one whole
        assert (scores["ap_50"].value, scores["rand_error"].value, scores["count_ratio"].value) == (0, 0, 0)
    else:
        assert all(np.isnan(scores[name].value) for name in ("ap_50", "rand_error", "count_ratio"))


def simulated(rng, blocks=48):
    """Return the objects of a volume of blocks that differ: dense or sparse, easy or hard."""
    number = rng.poisson(rng.gamma(4, 2, blocks))
    easy = rng.beta(6, 2, blocks)
    where = np.repeat(np.arange(blocks), number)
    hit = rng.random(len(where)) < easy[where]
    size = rng.integers(200, 2000, len(where))
    extra = rng.integers(0, blocks, rng.poisson(1.5 * blocks))
    shared = np.where(hit, (size * rng.uniform(0.6, 1, len(size))).astype(int), (size * 0.2).astype(int))
    table = np.zeros((len(where) + 1, len(where) + len(extra) + 1))
    inner = np.arange(1, len(where) + 1)
    table[inner, inner], table[inner, 0] = shared, size - shared
    table[0, len(where) + 1 :] = rng.integers(100, 1000, len(extra))
    table[0, 0] = 10**6
    centres = [np.stack([0 * at, 0 * at, 10.0 * at + 5], axis=1) for at in (where, np.concatenate([where, extra]))]
    return Contingency(table=sparse.csr_array(table), truth_centres=centres[0], predicted_centres=centres[1])


class Row:
    """A volume of which only the shape matters."""

    def __init__(self, blocks):
        self.spatial = (1, 1, 10 * blocks)


def coverage(repetitions, blocks=48, seed=0):
    """Return how often 95 % intervals of each score hold what 10 000 blocks give, scaled to as many blocks."""
    rng = np.random.default_rng(seed)
    every = [object_scores(simulated(rng, 400), Row(400), block=(1, 1, 10)) for _ in range(25)]
    hits = dict.fromkeys(("f1_50", "f1_75", "rand_error", "count_ratio", "ap_50"), 0)
    true = {}
    for name in hits:
        if name == "ap_50":  # ranks of several volumes are not added up
            true[name] = np.mean([scores_of_draw[name].value for scores_of_draw in every])
        else:
            true[name] = float(
                every[0][name].combine(
                    np.mean([scores_of_draw[name].sums.mean(0) for scores_of_draw in every], axis=0) * blocks
                )
            )
    for _ in range(repetitions):
        scores = object_scores(simulated(rng, blocks), Row(blocks), block=(1, 1, 10))
        for name in hits:
            interval = scores[name].interval(Resampling(resamples=600))
            hits[name] += interval.low <= true[name] <= interval.high
    return {name: count / repetitions for name, count in hits.items()}


def test_intervals_cover_as_often_as_they_say():
    covered = coverage(120)
    assert all(0.88 <= share <= 0.995 for share in covered.values()), covered
