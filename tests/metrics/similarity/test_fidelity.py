"""Fidelity against scikit-image, scipy, MONAI and loops; in blocks of any size; intervals and bad input."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage import metrics as oracle
from tests.metrics.stored import store

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Resampling
from vol2vol.metrics.similarity.cycle import cycle_error, quantised
from vol2vol.metrics.similarity.fidelity import differences, lncc, nmi, ssim, to_source, to_truth
from vol2vol.metrics.similarity.volume_pairs import compare
from vol2vol.metrics.similarity.window_sums import windowed

SHAPE = (23, 31, 29)


def texture(shape, seed=0, sigma=1.5):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field / field.std()


def images(shape=SHAPE, dtype=np.uint8, seed=0):
    a = texture(shape, seed)
    b = 0.8 * a + 0.5 * texture(shape, seed + 1)
    if np.dtype(dtype).kind == "f":
        return a.astype(dtype), b.astype(dtype)
    limits = np.iinfo(dtype)
    middle, step = (int(limits.max) + int(limits.min)) / 2, (int(limits.max) - int(limits.min)) / 12
    return tuple(np.clip(np.rint(middle + step * v), limits.min, limits.max).astype(dtype) for v in (a, b))


@pytest.fixture(params=["uint8", "uint16", "int16", "float32"])
def pair(request, tmp_path):
    a, b = images(dtype=request.param)
    return a, b, store(tmp_path / "some output é.zarr", a), store(tmp_path / "truth.zarr", b)


@pytest.mark.parametrize("block", [None, (7, 11, 13), (23, 5, 29), (4, 4, 4)])
def test_agrees_with_scikit_image_in_blocks_of_any_size(pair, block):
    a, b, output, truth = pair
    span = float(b.max()) - float(b.min())
    got = to_truth(output, truth, block=block)
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert got["psnr"].value == pytest.approx(oracle.peak_signal_noise_ratio(y, x, data_range=span), abs=1e-9)
    assert got["pearson"].value == pytest.approx(stats.pearsonr(x.ravel(), y.ravel())[0], abs=1e-9)
    assert got["mean_absolute"].value == pytest.approx(np.abs(x - y).mean())
    want = oracle.structural_similarity(
        x, y, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert got["ssim"].value == pytest.approx(want, abs=1e-6)
    kept = to_source(output, truth, bins=50, block=block)
    assert kept["nmi"].value == pytest.approx(oracle.normalized_mutual_information(x, y, bins=50), abs=1e-9)
    inner = (slice(1, -1),) * 3
    each = []
    for axis in range(3):
        cut = [slice(None)] * 3
        cut[axis] = inner[0]
        p, q = (np.gradient(v, axis=axis)[tuple(cut)].ravel() for v in (x, y))
        each.append(stats.pearsonr(p, q)[0])
    assert kept["gradient_correlation"].value == pytest.approx(np.mean(each), abs=1e-9)


@pytest.mark.parametrize("block", [None, (5, 9, 8)])
def test_lncc_agrees_with_loops_and_with_monai(tmp_path, block):
    a, b = images((12, 14, 13), np.float64)
    a[:, :, :6] = 3.0  # windows flat in the reference are left out, flat in the other alone are 0
    volumes = store(tmp_path / "a.zarr", a), store(tmp_path / "b.zarr", b)
    r, each, flat = 2, [], 0
    for z in range(r, 12 - r):
        for y in range(r, 14 - r):
            for x in range(r, 13 - r):
                p, q = (v[z - r : z + r + 1, y - r : y + r + 1, x - r : x + r + 1].ravel() for v in (a, b))
                if np.ptp(p):
                    each.append(np.corrcoef(p, q)[0, 1])
                else:
                    flat += 1
    assert flat
    got = compare(*volumes, [lncc((r, r, r), "first")], block=block)["lncc"]
    assert got.value == pytest.approx(np.mean(each), abs=1e-9)
    got = compare(*volumes, [lncc((r, r, r), "second")], block=block)["lncc"]
    assert got.value == pytest.approx(np.sum(each) / (len(each) + flat), abs=1e-9)

    from monai.losses import LocalNormalizedCrossCorrelationLoss

    c, d = images((9, 10, 11), np.float64, seed=4)  # theirs is the mean square, over padded windows: take one window
    volumes = store(tmp_path / "c.zarr", c[:5, :5, :5].copy()), store(tmp_path / "d.zarr", d[:5, :5, :5].copy())
    loss = LocalNormalizedCrossCorrelationLoss(kernel_size=5, reduction="none", smooth_nr=0, smooth_dr=1e-12)
    theirs = -loss(*(torch.from_numpy(v[:5, :5, :5])[None, None] for v in (c, d)))[0, 0, 2, 2, 2]
    assert compare(*volumes, [lncc((2, 2, 2), "first")])["lncc"].value ** 2 == pytest.approx(float(theirs), rel=1e-6)


def test_images_are_seen_in_their_plane(tmp_path):
    a, b = images((1, 40, 37))
    output, truth = store(tmp_path / "a.zarr", a), store(tmp_path / "b.zarr", b)
    want = oracle.structural_similarity(
        a[0].astype(float),
        b[0].astype(float),
        data_range=np.ptp(b.astype(float)),
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    got = to_truth(output, truth, block=(1, 16, 7))
    assert got["ssim"].value == pytest.approx(want, abs=1e-6)
    kept = to_source(output, truth, block=(1, 16, 7))
    assert -1 <= kept["gradient_correlation"].value <= 1
    assert len(kept["nmi"].sums) == 18


def test_channels_are_pooled(tmp_path):
    wide = [np.stack([texture((12, 12, 12), s), texture((12, 12, 12), s + 5)]).astype(np.float32) for s in (0, 1)]
    volumes = store(tmp_path / "c.zarr", wide[0]), store(tmp_path / "d.zarr", wide[1])
    got = to_truth(*volumes, data_range=4.0)
    assert got["psnr"].value == pytest.approx(
        oracle.peak_signal_noise_ratio(wide[1], wide[0], data_range=4.0), abs=1e-4
    )


def test_structure_survives_a_new_contrast_but_not_a_shift(tmp_path):
    a = images()[0]
    source = store(tmp_path / "s.zarr", a)
    toned = store(tmp_path / "t.zarr", (255 - a * 0.5).astype(np.float32))
    moved = store(tmp_path / "m.zarr", np.roll(a, 4, axis=2))
    kept, lost = to_source(source, toned), to_source(source, moved)
    assert kept["lncc"].value == pytest.approx(-1, abs=1e-6)
    assert kept["gradient_correlation"].value == pytest.approx(-1, abs=1e-6)
    assert kept["nmi"].value > 1.9
    assert abs(lost["lncc"].value) < 0.4
    assert lost["nmi"].value < 1.3
    same = to_truth(source, source)
    assert (same["psnr"].value, same["mean_absolute"].value) == (np.inf, 0)
    assert same["ssim"].value == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_blanking_half_of_an_output_loses_half(tmp_path, dtype):
    truth = images((24, 40, 48))[0]
    noisy = np.clip(truth + 6 * np.random.default_rng(5).normal(size=truth.shape), 0, 255).astype(dtype)
    blank = truth.astype(dtype)
    blank[:, :, 24:] = 90
    reference = store(tmp_path / "truth.zarr", truth)
    whole, half = (store(tmp_path / f"{n}.zarr", v) for n, v in (("noisy", noisy), ("blank", blank)))
    block = (24, 40, 12)
    kept, lost = (to_truth(output, reference, block=block) for output in (whole, half))
    assert lost["lncc"].value == pytest.approx(0.5, abs=0.11)  # windows across the edge count as they are
    assert lost["lncc"].value < kept["lncc"].value
    assert lost["lncc"].per_block[-1] == lost["pearson"].per_block[-1] == 0
    kept, lost = (to_source(reference, output, block=block) for output in (whole, half))
    assert lost["lncc"].value == pytest.approx(0.5, abs=0.11)
    for name in ("lncc", "gradient_correlation"):
        assert lost[name].value < kept[name].value
    assert lost["nmi"].value - 1 < 0.5  # of 1 where all is kept
    assert lost["gradient_correlation"].per_block[-1] == 0
    emptied = np.where(np.arange(48) < 24, truth, 90).astype(np.uint8)  # nothing to lose there
    assert to_source(store(tmp_path / "e.zarr", emptied), reference)["lncc"].value > 0.75


def test_intervals_come_from_blocks(tmp_path):
    a, b = images((32, 32, 32))
    worse = np.clip(b.astype(int) + 40 * texture((32, 32, 32), 9), 0, 255).astype(np.uint8)
    truth = store(tmp_path / "truth.zarr", a)
    first, second = (
        to_truth(store(tmp_path / f"{n}.zarr", v), truth, block=(8, 8, 8), window=5)
        for n, v in (("one", b), ("two", worse))
    )
    better = first["ssim"].against(second["ssim"], Resampling(resamples=300))
    assert 0 < better.low < better.value < better.high
    assert better.blocks == 64
    alone = first["pearson"].interval()
    assert alone.low < first["pearson"].value < alone.high
    assert first["pearson"].per_block.shape == (64,)


def test_rows_of_sums_are_bounded(tmp_path, monkeypatch):
    a, b = images((16, 16, 16))
    volumes = store(tmp_path / "a.zarr", a), store(tmp_path / "b.zarr", b)
    want = to_truth(*volumes, block=(4, 4, 4))
    monkeypatch.setattr("vol2vol.metrics.similarity.volume_pairs.ROWS", 7)
    got = to_truth(*volumes, block=(4, 4, 4))
    for name, score in got.items():
        assert score.sums.shape[0] == 7
        assert score.value == pytest.approx(want[name].value, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "size"), [((9, 40, 37), (3, 11, 5)), ((1, 17, 11), (1, 3, 11)), ((33, 5, 5), (17, 5, 1))]
)
def test_windows_are_summed_as_scipy_does(shape, size, dtype):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape)
    weights = [tuple(rng.random(n).tolist()) if n > 1 else (1.0,) for n in size]
    want = values
    for axis, along in enumerate(weights):
        want = ndimage.correlate1d(want, along, axis=axis)
    inner = tuple(slice(n // 2, m - n // 2) for n, m in zip(size, shape, strict=True))
    got = windowed(values.astype(dtype), weights)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want[inner], rtol=0, atol=1e-12 if dtype == np.float64 else 1e-5)


def test_results_do_not_depend_on_threads(tmp_path, monkeypatch):
    a, b = images((30, 40, 50))
    volumes = store(tmp_path / "a.zarr", a), store(tmp_path / "b.zarr", b)
    scores = []
    for threads in (1, 3):
        monkeypatch.setattr("vol2vol.metrics.similarity.volume_pairs.THREADS", threads)
        scores.append({**to_truth(*volumes, block=(8, 16, 16)), **to_source(*volumes, block=(8, 16, 16))})
    for name, score in scores[0].items():
        np.testing.assert_array_equal(score.sums, scores[1][name].sums)
    few = differences(*volumes, block=(8, 16, 16))
    assert all(np.array_equal(score.sums, scores[0][name].sums) for name, score in few.items())


def test_scores_do_not_depend_on_the_type_that_values_are_kept_in(tmp_path):
    truth = images(dtype=np.uint8)[1]
    noisy = np.clip(truth + np.random.default_rng(1).normal(0, 5, truth.shape), 0, 255).astype(np.uint8)
    values = []
    for factor, dtype in ((1, np.uint8), (16, np.uint16), (128, np.int16), (1 / 256, np.float32)):
        kept = [(v * np.float64(factor)).astype(dtype) for v in (noisy, truth)]
        scores = to_truth(*(store(tmp_path / f"{factor}-{i}.zarr", v) for i, v in enumerate(kept)))
        values.append([scores["psnr"].value, scores["ssim"].value])
    np.testing.assert_allclose(values, values[:1] * 4, atol=1e-6)
    span = float(np.ptp(truth))
    assert values[0][0] == pytest.approx(oracle.peak_signal_noise_ratio(truth * 1.0, noisy * 1.0, data_range=span))


@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1e5, 1), (-30, 1e-3), (7, 1e6)])
def test_large_offsets_and_any_unit_cost_no_digits(tmp_path, offset, scale):
    a, b = (offset + scale * v for v in images(dtype=np.float64))
    volumes = store(tmp_path / "a.zarr", a), store(tmp_path / "b.zarr", b)
    for span in (None, 0.01 * scale):
        want = oracle.structural_similarity(
            a, b, data_range=span or float(np.ptp(b)), gaussian_weights=True, use_sample_covariance=False
        )
        assert to_truth(*volumes, data_range=span)["ssim"].value == pytest.approx(want, abs=1e-6)
    aa, bb = (images(dtype=np.float64)[i] for i in (0, 1))
    plain = [store(tmp_path / f"{n}.zarr", v) for n, v in (("c", aa), ("d", bb))]
    assert to_truth(*volumes)["lncc"].value == pytest.approx(to_truth(*plain)["lncc"].value, abs=1e-6)


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_the_widest_integers_do_not_overflow(tmp_path, dtype, recwarn):
    top = np.iinfo(dtype).max
    noise = np.random.default_rng(0).integers(0, top, (13, 14, 15), dtype=dtype, endpoint=True)
    volume = store(tmp_path / "a.zarr", noise)
    assert to_truth(volume, volume)["ssim"].value == pytest.approx(1)
    assert not recwarn.list


def test_bytes_are_summed_exactly(tmp_path):
    """The same numbers stored as floats go through double precision."""
    rng = np.random.default_rng(3)
    a = rng.choice(np.array([0, 1, 254, 255], np.uint8), SHAPE)
    b = rng.integers(0, 256, SHAPE).astype(np.uint8)
    a[:, :, :12] = 255
    b[:12] //= 128
    small, large = ([store(tmp_path / f"{i}{d}.zarr", v.astype(d)) for i, v in enumerate((a, b))] for d in ("u1", "f4"))
    for radius in ((4, 4, 4), (1, 2, 3)):
        for reference in ("first", "second"):
            first, second = (compare(*volumes, [lncc(radius, reference)])["lncc"] for volumes in (small, large))
            np.testing.assert_allclose(first.sums, second.sums, rtol=1e-9)


@pytest.mark.parametrize("shape", [(11, 11, 11), (1, 11, 11), (13, 11, 17)])
def test_smallest_volumes(tmp_path, shape):
    a, b = images(shape)
    volumes = store(tmp_path / "a.zarr", a), store(tmp_path / "b.zarr", b)
    x, y = (v.squeeze().astype(float) for v in (a, b))
    want = oracle.structural_similarity(x, y, data_range=255, gaussian_weights=True, use_sample_covariance=False)
    for block in (None, (1, 1, 11), (3, 2, 5)):
        assert compare(*volumes, [ssim(volumes[1], 255.0)], block=block)["ssim"].value == pytest.approx(want, abs=1e-6)


def test_bad_input(tmp_path):
    a = images((12, 12, 12))[0]
    volume = store(tmp_path / "a.zarr", a)
    with pytest.raises(BadInput, match=r"a.zarr has shape \(1, 12, 12, 12\) and .*b.zarr \(1, 12, 12, 11\)"):
        to_truth(volume, store(tmp_path / "b.zarr", a[:, :, :11].copy()))
    with pytest.raises(BadInput, match=r"voxels of \(1.0, 1.0, 1.0\) and .*\(2.0, 1.0, 1.0\)"):
        to_truth(volume, store(tmp_path / "c.zarr", a, voxel_size=(2, 1, 1)))
    holed = a.astype(np.float32)
    holed[3, 4, 5] = np.nan
    with pytest.raises(BadInput, match=r"holds NaN or infinity at voxel \(3, 4, 5\)"):
        to_source(volume, store(tmp_path / "n.zarr", holed))
    with pytest.raises(BadInput, match="everywhere"):
        to_source(volume, store(tmp_path / "f.zarr", np.full_like(a, 7)))
    with pytest.raises(BadInput, match="smaller than the window of 11"):
        to_truth(*[store(tmp_path / f"s{i}.zarr", a[:10].copy()) for i in range(2)])
    with pytest.raises(BadInput, match="smaller than the window of 4"):
        to_truth(volume, volume, window=4)
    with pytest.raises(BadInput, match="bins"):
        nmi(((0, 1), (0, 1)), 1)


def there_and_back(folder, forward, backward, *, noise):
    """Return the cycle error of a source in 0..1 by a translator and its way back, target values 0..1."""
    source = np.random.default_rng(0).uniform(0, 1, (12, 5, 6))
    there = forward(source)
    ways = {"source": source, "plain": backward(there), "back": backward(quantised(there, (0, 1), noise=noise))}
    volumes = {name: store(folder / f"{len(list(folder.iterdir()))}.zarr", array) for name, array in ways.items()}
    return cycle_error(volumes["source"], volumes["back"], volumes["plain"], block=(4, 5, 6))


def test_quantisation_finds_what_a_cycle_hides(tmp_path):
    honest = there_and_back(tmp_path, lambda x: 1 - x, lambda y: 1 - y, noise=0)
    assert honest["mean_absolute"].value <= 0.5 / 255
    assert honest["hidden"].value == pytest.approx(honest["mean_absolute"].value, abs=1e-12)
    hiding = there_and_back(tmp_path, lambda x: 0.5 + x * 1e-3, lambda y: (y - 0.5) * 1e3, noise=0)
    assert hiding["hidden"].value > 0.2
    assert hiding["psnr"].value < 10 < honest["psnr"].value
    noisy = there_and_back(tmp_path, lambda x: x, lambda y: y, noise=4)
    assert noisy["mean_absolute"].value == pytest.approx(4 / 255 * np.sqrt(2 / np.pi), rel=0.15)
    assert len(noisy["hidden"].sums) == 3
    assert noisy["mean_absolute"].against(honest["mean_absolute"]).low > 0
    flat = store(tmp_path / "flat.zarr", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(BadInput, match="0 everywhere"):
        cycle_error(flat, flat, flat)
    with pytest.raises(BadInput, match="one shape"):
        cycle_error(*(store(tmp_path / f"s{i}.zarr", images((n, 9, 9))[0]) for i, n in enumerate((3, 4, 3))))


def test_quantisation_is_to_levels_of_a_range_with_noise():
    values = np.linspace(-2, 12, 1000)
    exact = quantised(values, (0, 10), noise=0)
    np.testing.assert_allclose(exact, np.clip(np.rint(values * 25.5), 0, 255) / 25.5)
    assert len(np.unique(exact)) == 256
    noisy = quantised(np.full(20_000, 5.0), (0, 10), seed=(1, 2, 3))
    assert noisy.std() * 25.5 == pytest.approx(np.sqrt(1 + 1 / 12), rel=0.03)
    assert np.array_equal(noisy, quantised(np.full(20_000, 5.0), (0, 10), seed=(1, 2, 3)))
    with pytest.raises(BadInput, match="more than one grey value"):
        quantised(values, (3, 3))
