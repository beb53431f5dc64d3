import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.study import compare, fidelity
from vol2vol.volumes import create_volume


def volume(path, array):
    made = create_volume(
        path, shape=array.shape, dtype=array.dtype, voxel_size=(1, 1, 1), unit="", chunks=(4, 8, 8), overwrite=True
    )
    made.write(Box.of(made.spatial), array)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fidelity")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]))
def test_agrees_with_numpy_and_scikit_image_over_many_slabs(folder, seed, dtype):
    rng = np.random.default_rng(seed)
    shape = (1, int(rng.integers(1, 11)), 9, 7)
    low = -300 if dtype in ("int16", "float32") else 0
    a, b = (rng.integers(low, 250, shape).astype(dtype) for _ in range(2))
    old, fidelity.SLAB = fidelity.SLAB, 4 * 63
    try:
        found = compare(volume(folder / "a.zarr", a), volume(folder / "b.zarr", b))
    finally:
        fidelity.SLAB = old
    peak = float(np.ptp(b)) if dtype == "float32" else float(np.iinfo(dtype).max) - np.iinfo(dtype).min
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert found.mean_absolute == pytest.approx(np.abs(x - y).mean())
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(y, x, data_range=peak))
    assert found.pearson == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1], abs=1e-12)


def test_equal_and_constant_volumes(folder):
    flat = volume(folder / "flat.zarr", np.full((1, 2, 8, 8), 7, np.uint8))
    ramp = volume(folder / "ramp.zarr", np.arange(128, dtype=np.uint8).reshape(1, 2, 8, 8))
    assert compare(ramp, ramp).psnr == np.inf
    assert compare(ramp, ramp).pearson == pytest.approx(1)
    assert np.isnan(compare(ramp, flat).pearson)


def test_a_large_offset_costs_no_digits(folder):
    ramp = np.arange(128, dtype=np.float32).reshape(1, 2, 8, 8)
    a, b = volume(folder / "c.zarr", ramp + np.float32(1e5)), volume(folder / "d.zarr", -ramp + np.float32(1e5))
    assert compare(a, b).pearson == pytest.approx(-1, abs=1e-12)


def test_other_shapes_are_refused(folder):
    a, b = (volume(folder / f"s{n}.zarr", np.zeros((1, n, 8, 8), np.uint8)) for n in (1, 2))
    with pytest.raises(BadInput, match="compare equal shapes"):
        compare(a, b)
