"""Tests of baselines: the intensities and spectra of their predictions are those that each promises."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.exposure import match_histograms

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.models.bundle import load_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.recipes import fit_baseline
from vol2vol.recipes.spectra import matching_filter, radial_power
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
KINDS = ("identity", "meanstd", "histogram", "spectrum")


def texture(shape, seed, sigma, mean, sd):
    """Return structures of several sizes with noise, of known mean and standard deviation."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((3, *shape))
    smooth = sum(layer / layer.std() for layer in map(gaussian_filter, noise, (sigma / 2, sigma, 2 * sigma)))
    values = smooth / smooth.std() + 0.3 * random.standard_normal(shape)
    return (values - values.mean()) / values.std() * sd + mean


def write(path, array, voxel=(8, 8, 8)):
    array = array[None] if array.ndim == 3 else array
    options = {"voxel_size": voxel, "unit": "nanometer", "chunks": (16, 32, 32)}
    volume = create_volume(path, shape=array.shape, dtype=array.dtype, **options)
    volume.write(Box.of(volume.spatial), array)
    volume.flush()
    return path


def read(path):
    volume = open_volume(path)
    return volume.read(Box.of(volume.spatial))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Write two uint8 domains of different sizes, histograms and spectra."""
    folder = tmp_path_factory.mktemp("ein Paar")
    source = texture((40, 96, 101), 0, 1.0, 90, 20)
    target = texture((44, 90, 97), 1, 1.5, 140, 30) ** 2 / 160
    return [
        write(folder / f"{name}.zarr", np.clip(np.rint(array), 0, 255).astype(np.uint8))
        for name, array in (("source", source), ("target", target))
    ]


def applied(kind, source, target, folder, *, settings=None, **options):
    model = folder / kind
    if not model.exists():
        fit_baseline(kind, source, target, model, **options)
    output = folder / f"{len(list(folder.iterdir()))}.zarr"
    predict(model, source, output, settings or PredictSettings(pyramid=False))
    return read(output)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_identity_returns_the_volume_bit_for_bit(tmp_path, dtype):
    random = np.random.default_rng(0)
    if dtype == "float32":
        array = random.normal(0, 1e4, (2, 5, 33, 41)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        array = random.integers(limits.min, limits.max, (2, 5, 33, 41), dtype=dtype, endpoint=True)
    source = write(tmp_path / "s.zarr", array)
    assert np.array_equal(applied("identity", source, source, tmp_path), array)
    every = PredictSettings(strategy="average", tile="16", pyramid=False)
    np.testing.assert_allclose(applied("identity", source, source, tmp_path, settings=every), array, rtol=1e-6)


def test_meanstd_gives_the_targets_mean_and_deviation_in_both_directions(pair, tmp_path):
    for start, end, direction in ((*pair, "forward"), (*pair[::-1], "backward")):
        fit_baseline("meanstd", *pair, tmp_path / "m", overwrite=True)
        settings = PredictSettings(direction=direction, raw=True, pyramid=False)
        predict(tmp_path / "m", start, tmp_path / f"{direction}.zarr", settings)
        output, wanted = read(tmp_path / f"{direction}.zarr"), read(end).astype(float)
        assert output.mean(dtype=float) == pytest.approx(wanted.mean(), abs=1e-3)
        assert output.std(dtype=float) == pytest.approx(wanted.std(), abs=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_histogram_matching_is_scikit_images(dtype, tmp_path):
    scale = {"uint8": 1, "uint16": 200, "float32": 0.01}[dtype]
    arrays = [texture((9, 50, 61), i, 1.5, 90 + 40 * i, 18 + 9 * i).clip(0, 255) * scale for i in (0, 1)]
    arrays = [(a if dtype == "float32" else np.rint(a)).astype(dtype) for a in arrays]
    source, target = (write(tmp_path / f"{i}.zarr", a) for i, a in enumerate(arrays))
    output = applied("histogram", source, target, tmp_path)[0]
    expected = match_histograms(*arrays)
    assert np.abs(output.astype(float) - expected).max() <= {"uint8": 1, "uint16": scale, "float32": 0.4}[dtype]
    assert np.abs(output.astype(float) - expected).mean() <= 0.51 * min(scale, 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_spectrum_brings_the_radial_spectrum_to_the_targets(pair, tmp_path, dims):
    options = {"settings": PredictSettings(raw=True, pyramid=False), "dims": dims}
    power = []
    for array in (
        read(pair[0]), applied("histogram", *pair, tmp_path, **options),
        applied("spectrum", *pair, tmp_path, **options), read(pair[1]),
    ):  # fmt: skip
        inner = array[0].astype(float)
        sides = [inner[:, :96, :90]] if dims == 3 else list(inner[:, :90, :90])
        frequency, measured = radial_power(sides if dims == 2 else [sides[0][:40, :90, :90]], (1,) * dims)
        power.append(measured)
    middle = (frequency > 0.06) & (frequency < 0.48)
    untranslated, looked_up, filtered = (np.abs(np.log(p / power[3]))[middle] for p in power[:3])
    assert filtered.mean() < 0.09
    assert filtered.mean() < 0.25 * min(untranslated.mean(), looked_up.mean())


def response_of(frequency, fine):
    """Return the transfer function of a microscope of known resolution, at frequencies in cycles per nanometre."""
    return 0.25 + np.exp(-((frequency * fine) ** 2))


def frequencies(shape, voxel):
    axes = np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(shape, voxel, strict=True)), indexing="ij")
    return np.sqrt(sum(axis**2 for axis in axes))


def coloured(shape, voxel, fine, *, dims, seed):
    """Return white noise behind a known response, scaled to mean 128 and deviation 20, and its own deviation."""
    values = np.random.default_rng(seed).standard_normal(shape)
    axes = tuple(range(3 - dims, 3))
    response = response_of(frequencies(shape[-dims:], voxel[-dims:]), fine)
    filtered = np.fft.ifftn(np.fft.fftn(values, axes=axes) * response, axes=axes).real
    return (128 + 20 * filtered / filtered.std()).astype(np.float32), filtered.std()


@pytest.mark.parametrize(
    ("dims", "source_voxel", "target_voxel"),
    [
        (2, (8, 8, 8), (8, 8, 8)),
        (2, (30, 16, 8), (30, 16, 8)),
        (3, (8, 8, 8), (8, 8, 8)),
        (3, (32, 8, 8), (32, 8, 8)),
        (3, (8, 8, 8), (32, 8, 8)),
    ],
)
def test_the_filter_turns_one_known_response_into_another(tmp_path, dims, source_voxel, target_voxel):
    """For white noise filtered by two responses, the filter is their ratio; the oracle uses none of our spectra."""
    shape, fine = ((6, 96, 96), (28.0, 12.0)) if dims == 2 else ((48, 56, 56), (28.0, 12.0))
    arrays, deviations = zip(
        *(
            coloured(shape, voxel, length, dims=dims, seed=seed)
            for seed, (voxel, length) in enumerate(zip((source_voxel, target_voxel), fine, strict=True))
        ),
        strict=True,
    )
    source, target = (
        write(tmp_path / f"{i}.zarr", array, voxel)
        for i, (array, voxel) in enumerate(zip(arrays, (source_voxel, target_voxel), strict=True))
    )
    bundle = load_bundle(fit_baseline("spectrum", source, target, tmp_path / "model", dims=dims))
    kernel = bundle.network("forward").filter.weight[0, 0].numpy()
    at = frequencies((64,) * dims, source_voxel[-dims:])
    response = np.abs(np.fft.fftn(np.pad(kernel, [(0, 64 - n) for n in kernel.shape])))
    wanted = response_of(at, fine[1]) / response_of(at, fine[0]) * (deviations[0] / deviations[1])
    middle = (at > 0.05 / 8) & (at < 0.45 / 8)
    apart = np.abs(np.log(response / wanted))[middle]
    assert np.ptp(np.log(wanted[middle])) > 0.5
    assert apart.mean() < 0.05
    assert np.quantile(apart, 0.95) < 0.12
    if source_voxel == target_voxel:
        predict(tmp_path / "model", source, tmp_path / "made.zarr", PredictSettings(raw=True, pyramid=False))
        output = read(tmp_path / "made.zarr")[0]
        axes = tuple(range(3 - dims, 3))
        spectra = [
            np.abs(np.fft.fftn(image - image.mean(), axes=axes)) ** 2 for image in (arrays[0], output, arrays[1])
        ]
        here = frequencies(shape[-dims:], source_voxel[-dims:])
        rings = [(here >= low) & (here < low + 0.05 / 8) for low in np.arange(0.1, 0.45, 0.05) / 8]
        before, after, there = (np.array([image[..., ring].mean() for ring in rings]) for image in spectra)
        assert np.abs(np.log(after / there)).max() < 0.12
        assert np.abs(np.log(before / there)).max() > 0.5, before / there


def test_the_filter_has_the_response_asked_for_and_leaves_the_mean(pair, tmp_path):
    frequency = np.linspace(0.01, 0.8, 60)
    gain = 1 + 1.5 * np.exp(-(((frequency - 0.25) / 0.1) ** 2))
    kernel = matching_filter(frequency, gain, 10, (1, 1))
    assert np.allclose(kernel, kernel[::-1, ::-1])
    assert np.allclose(kernel, kernel.T)
    response = np.abs(np.fft.fft2(kernel, (64, 64)))[0, :33]
    np.testing.assert_allclose(response, np.interp(np.arange(33) / 64, frequency, gain), rtol=0.03)
    output = applied("spectrum", *pair, tmp_path, settings=PredictSettings(raw=True, pyramid=False))
    assert output.mean() == pytest.approx(read(pair[1]).mean(), abs=0.3)
    assert output.std() == pytest.approx(read(pair[1]).std(), rel=0.08)


@pytest.mark.parametrize(("kind", "dims"), [("histogram", 2), ("histogram", 3), ("spectrum", 2), ("spectrum", 3)])
def test_no_voxel_depends_on_the_tile(pair, tmp_path, kind, dims):
    whole = applied(kind, *pair, tmp_path, dims=dims, settings=PredictSettings(raw=True, pyramid=False))
    tile = {"histogram": "9", "spectrum": "33" if dims == 2 else "29"}[kind]
    small = applied(kind, *pair, tmp_path, settings=PredictSettings(raw=True, pyramid=False, tile=tile))
    np.testing.assert_allclose(small, whole, atol=2e-3)
    if kind == "histogram":
        assert np.array_equal(small, whole)


def test_two_channels_are_two_look_ups(tmp_path):
    random = np.random.default_rng(2)
    source = np.stack([random.integers(0, 50, (3, 40, 40)), random.integers(0, 200, (3, 40, 40))]).astype(np.uint8)
    target = np.stack([random.integers(100, 140, (4, 36, 40)), random.integers(0, 90, (4, 36, 40))]).astype(np.uint8)
    paths = write(tmp_path / "s.zarr", source), write(tmp_path / "t.zarr", target)
    output = applied("histogram", *paths, tmp_path)
    for channel in (0, 1):
        expected = match_histograms(source[channel], target[channel])
        assert np.abs(output[channel] - expected).max() <= 1
    assert applied("spectrum", *paths, tmp_path).shape == source.shape


@pytest.mark.parametrize("kind", KINDS)
def test_bundles_load_and_know_what_they_are(pair, tmp_path, kind):
    bundle = load_bundle(fit_baseline(kind, *pair, tmp_path / kind))
    assert bundle.meta["provenance"]["baseline"] == kind
    assert not nets.tile_dependent(bundle.network("backward"))
    assert [v["name"] for v in bundle.meta["provenance"]["volumes"]["source"]] == ["source.zarr"]


@pytest.mark.parametrize("radius", [0, -1, 7, 4000])
def test_a_filter_reaches_no_further_than_spectra_say(radius, tmp_path):
    small = write(tmp_path / "small.zarr", texture((5, 13, 15), 0, 1.0, 90, 20).astype(np.uint8))
    with pytest.raises(BadInput, match=f"radius {radius} .*set `radius` to 1 to 6"):
        fit_baseline("spectrum", small, small, tmp_path / "m", radius=radius)
    for radius, reach in ((6, 6), (None, 6)):  # left out, it is 12 where that is known
        bundle = load_bundle(fit_baseline("spectrum", small, small, tmp_path / f"{radius}", radius=radius))
        assert bundle.network("forward").describe()["arguments"]["radius"] == reach


def test_what_cannot_be_fitted_is_said(pair, tmp_path, capsys):
    flat = write(tmp_path / "flat.zarr", np.full((3, 20, 20), 7, np.uint8))
    with pytest.raises(BadInput, match="constant"):
        fit_baseline("meanstd", pair[0], flat, tmp_path / "m")
    two = write(tmp_path / "two.zarr", np.zeros((2, 3, 20, 20), np.uint8))
    with pytest.raises(BadInput, match="target 2"):
        fit_baseline("identity", pair[0], two, tmp_path / "m")
    with pytest.raises(BadInput, match="unknown"):
        fit_baseline("magic", *pair, tmp_path / "m")
    words = ["baseline", "histogram", "--source", str(pair[0]), "--target", str(pair[1]), "--out", str(tmp_path / "m")]
    assert main([*words, "--json"]) == 0
    assert '"baseline": "histogram"' in capsys.readouterr().out
    words[1] = "meanstd"
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err
