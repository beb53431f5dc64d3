"""Information of place about colour: known answers, another implementation, and honest p values."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from vol2vol.errors import BadInput
from vol2vol.metrics.objects.lattice import shortcut


def drawn(rng, count, images=5, size=200):
    """Return random places `(count, 3)` in planes, and the images they lie in."""
    places = np.concatenate([np.zeros((count, 1)), rng.integers(0, size, (count, 2))], axis=1).astype(float)
    return places, np.sort(rng.integers(0, images, count))


def test_a_colour_that_place_decides():
    rng = np.random.default_rng(0)
    places, images = drawn(rng, 4000)
    rule = rng.integers(0, 3, (4, 4))
    colours = rule[tuple((places[:, 1:].astype(int) % 4).T)]
    found = shortcut(colours, places, images, (1, 4, 4))
    assert found.cells == 16
    assert found.predicted.value == 1
    assert found.p == 0.001
    assert found.bits == pytest.approx(found.entropy, abs=0.01)
    assert found.majority.value == pytest.approx(np.bincount(colours).max() / 4000, abs=0.01)
    noisy = np.where(rng.uniform(size=4000) < 0.05, rng.integers(0, 3, 4000), colours)
    assert shortcut(noisy, places, images, (1, 4, 4)).predicted.value == pytest.approx(0.95 + 0.05 / 3, abs=0.015)


@pytest.mark.parametrize("period", [(1, 4, 4), (1, 3, 1), (2, 2, 5)])
def test_information_is_that_of_another_implementation(period):
    rng = np.random.default_rng(1)
    places, images = drawn(rng, 50_000)
    places[:, 0] = rng.integers(0, 9, 50_000)
    cells = np.ravel_multi_index(tuple((places.astype(int) % period).T), period)
    colours = np.where(rng.uniform(size=50_000) < 0.4, cells % 3, rng.integers(0, 3, 50_000))
    found = shortcut(colours, places, images, period)
    expected = mutual_info_score(colours, cells) / np.log(2)
    bias = (found.cells - 1) * 2 / (2 * 50_000 * np.log(2))
    assert found.bits == pytest.approx(expected - bias, abs=1e-9)


def test_without_information_the_bits_are_about_zero_and_p_is_honest():
    """Also where images prefer colours: permutations stay within images. 200 p values, binomial tolerance."""
    rng, bits, p = np.random.default_rng(2), [], []
    for _ in range(200):
        places, images = drawn(rng, 400)
        colours = (rng.uniform(size=400)[:, None] > rng.dirichlet((1, 1, 1), 5)[images].cumsum(1)[:, :2]).sum(1)
        found = shortcut(colours, places, images, (1, 4, 4), seed=int(rng.integers(1 << 30)))
        bits.append(found.bits)
        p.append(found.p)
    assert abs(np.mean(bits)) < 0.005
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 200))
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_one_image_is_divided_and_few_objects_are_enough():
    rng = np.random.default_rng(3)
    places, _ = drawn(rng, 900)
    colours = (places[:, 1].astype(int) % 2 + places[:, 2].astype(int) % 2) % 3
    found = shortcut(colours, places, np.zeros(900), (1, 2, 2))
    assert found.predicted.value == 1
    assert len(found.predicted.sums) == 10
    one = shortcut(colours[:1], places[:1], np.zeros(1), (1, 2, 2))
    assert (one.objects, one.bits, one.p) == (1, 0, 1)
    same = shortcut(np.full(900, 2), places, np.zeros(900), (1, 2, 2))
    assert (same.bits, same.entropy, same.p, same.predicted.value, same.majority.value) == (0, 0, 1, 1, 1)


def test_places_are_rounded_and_periods_are_checked():
    places = np.array([[0, 3.9, 4.1], [0, 4.0, 4.0], [0, 4.3, 3.6]])
    assert shortcut(np.array([0, 1, 0]), places, np.zeros(3), (1, 4, 4)).cells == 1
    for period in ((4, 4), (1, 1, 1), (1, 0, 4)):
        with pytest.raises(BadInput, match="one of them above 1"):
            shortcut(np.array([0]), places[:1], np.zeros(1), period)
    with pytest.raises(BadInput, match="no object has exactly one colour"):
        shortcut(np.zeros(0, int), np.zeros((0, 3)), np.zeros(0), (1, 4, 4))
