"""Distances against scipy, torchmetrics, MONAI, scikit-learn and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from vol2vol.errors import BadInput
from vol2vol.metrics.distances.set_distances import Moments, fid, frechet, kernel, mmd, moments, prdc


def draw(n, d, seed=0, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * scale / np.sqrt(d) + shift


class Flat(torch.nn.Module):
    """Images that already are features, for oracles that insist on a network."""

    num_features = 16

    def forward(self, x):
        return x.flatten(1)[:, :16].double()


@given(n=st.integers(1, 40), d=st.integers(1, 6), cuts=st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=40, deadline=None)
def test_moments_do_not_depend_on_batches(n, d, cuts):
    x = np.random.default_rng(n).normal(size=(n, d)) * 3 + 1e4
    got = moments(np.split(x, sorted(min(c, n) for c in cuts)))
    np.testing.assert_allclose(got.mean, x.mean(0), rtol=1e-12)
    assert got.rank_deficient == (n <= d)
    if n > 1:
        np.testing.assert_allclose(got.covariance, np.cov(x, rowvar=False).reshape(d, d), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 16), (60, 50, 30), (2, 3, 1)])
def test_frechet_is_scipys(n, m, d):
    a, b = draw(n, d, 1), draw(m, d, 2, 1.3, 0.4)
    first, second = Moments().add(a), Moments().add(b)
    root = linalg.sqrtm(first.covariance @ second.covariance).real
    want = ((first.mean - second.mean) ** 2).sum() + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet(first.mean, first.covariance, second.mean, second.covariance) == pytest.approx(want, rel=1e-8)
    assert fid(a, b) == pytest.approx(want, rel=1e-8)


def test_frechet_of_known_gaussians():
    eye = np.eye(5)
    assert frechet(np.zeros(5), eye, np.full(5, 2.0), 9 * eye) == pytest.approx(5 * 4 + 5 * (3 - 1) ** 2)
    x = draw(50, 5)
    assert fid(x, x) == pytest.approx(0, abs=1e-9)
    low = draw(10, 40, 3)  # fewer patches than features: nuclear norm of the cross product, without any root
    high = draw(12, 40, 4)
    first, second = low - low.mean(0), high - high.mean(0)
    cross = np.linalg.svd(first @ second.T, compute_uv=False).sum() / np.sqrt(9 * 11)
    want = ((low.mean(0) - high.mean(0)) ** 2).sum() + (first**2).sum() / 9 + (second**2).sum() / 11 - 2 * cross
    assert fid(low, high) == pytest.approx(want, rel=1e-6)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_frechet_agrees_with_torchmetrics_and_monai():
    from monai.metrics import FIDMetric
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = draw(200, 16, 5), draw(150, 16, 6, 1.2, 0.2)
    theirs = FrechetInceptionDistance(feature=Flat(), normalize=True).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(a)[:, None, None, :], real=True)
    theirs.update(torch.from_numpy(b)[:, None, None, :], real=False)
    assert fid(a, b) == pytest.approx(float(theirs.compute()), rel=1e-6)
    assert fid(a, b) == pytest.approx(float(FIDMetric()(torch.from_numpy(a), torch.from_numpy(b))), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_kernel_agrees_with_torchmetrics_and_brute_force():
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = draw(60, 16, 7), draw(60, 16, 8, 1.1, 0.3)
    theirs = KernelInceptionDistance(feature=Flat(), subsets=3, subset_size=60, normalize=True)
    theirs.update(torch.from_numpy(a)[:, None, None, :], real=True)
    theirs.update(torch.from_numpy(b)[:, None, None, :], real=False)
    mine = kernel(a, b, size=60)
    assert mine.value == pytest.approx(float(theirs.compute()[0]), rel=1e-5)

    def k(x, y):
        return (x @ y / 16 + 1) ** 3

    want = sum(k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / (60 * 59)
    want += sum(k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j) / (60 * 59)
    want -= 2 * sum(k(x, y) for x in a for y in b) / 3600
    assert mmd(a, b) == pytest.approx(want, rel=1e-9)
    assert mine.value == pytest.approx(want, rel=1e-9)


def test_kernel_is_unbiased_and_its_subsets_spread():
    values = [mmd(draw(20, 4, s)[:10], draw(20, 4, s)[10:]) for s in range(600)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(600)
    distance = kernel(draw(300, 8, 1), draw(400, 8, 1, shift=0.3), subsets=20, size=100)
    assert distance.low < distance.value < distance.high
    assert distance.deviation > 0
    assert (distance.subsets, distance.size) == (20, 100)
    assert distance == kernel(draw(300, 8, 1), draw(400, 8, 1, shift=0.3), subsets=20, size=100)
    assert kernel(draw(30, 8), draw(20, 8)).size == 10
    assert np.isnan(kernel(draw(20, 8), draw(20, 8), size=20).low)
    with pytest.raises(BadInput, match="at least 21 patches of each set, there are 20"):
        kernel(draw(30, 8), draw(20, 8), size=21)


def test_prdc_agrees_with_scikit_learn():
    from sklearn.metrics import pairwise_distances

    fake, real, k = draw(150, 6, 1, 0.8), draw(130, 6, 2), 5
    cross = pairwise_distances(real, fake)
    real_radius = np.sort(pairwise_distances(real), axis=1)[:, k]
    fake_radius = np.sort(pairwise_distances(fake), axis=1)[:, k]
    got = prdc(fake, real, k=k)
    assert got.precision == pytest.approx((cross < real_radius[:, None]).any(0).mean())
    assert got.recall == pytest.approx((cross < fake_radius).any(1).mean())
    assert got.density == pytest.approx((cross < real_radius[:, None]).sum(0).mean() / k)
    assert got.coverage == pytest.approx((cross.min(1) < real_radius).mean())


def test_prdc_tells_collapse_from_infidelity():
    real = draw(1500, 4, 0)
    collapsed, far = real[:1] + 0.01 * draw(300, 4, 1), draw(300, 4, 2, shift=30)
    assert prdc(collapsed, real).precision > 0.9
    assert prdc(collapsed, real).recall < 0.1
    assert prdc(collapsed, real).coverage < 0.1
    nowhere = prdc(far, real)
    assert (nowhere.precision, nowhere.recall, nowhere.density, nowhere.coverage) == (0, 0, 0, 0)
    assert prdc(real, real, at_most=200).patches == (200, 200)


def test_bad_input():
    x = draw(5, 3)
    with pytest.raises(BadInput, match="at least 6 patches of each set, there are 5"):
        prdc(x, draw(50, 3))
    with pytest.raises(BadInput, match="at least 2 patches, there are 1"):
        fid(x[:1], x)
    with pytest.raises(BadInput, match="at least 2 patches of each set, there are 1"):
        kernel(x, x[:1])
    with pytest.raises(BadInput, match="NaN"):
        fid(np.full((4, 3), np.nan), x)
    with pytest.raises(BadInput, match="3 and 4 numbers"):
        fid(x, draw(5, 4))
    with pytest.raises(BadInput, match="one row per patch"):
        fid(x[0], x)
