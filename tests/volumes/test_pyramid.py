from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr_models import open_ome_zarr

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.volumes import build_pyramid, create_volume, open_volume
from vol2vol.volumes.pyramid import mean


def brute(block, step):
    """Average by definition, voxel by voxel, in exact arithmetic."""
    sizes = [-(-n // s) for n, s in zip(block.shape[1:], step, strict=True)]
    out = np.zeros((block.shape[0], *sizes), block.dtype)
    for c, z, y, x in np.ndindex(*out.shape):
        picks = [
            [min(i * s + o, n - 1) for o in range(s)] for i, s, n in zip((z, y, x), step, block.shape[1:], strict=True)
        ]
        values = [int(block[c, a, b, d]) for a in picks[0] for b in picks[1] for d in picks[2]]
        out[c, z, y, x] = (2 * sum(values) + len(values)) // (2 * len(values))
    return out


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.integers(1, 2)] * 3),
    st.sampled_from(["u1", "u2", "i2", "u4", "i1"]),
    st.integers(0, 99),
)
def test_means_are_exact_and_rounded_half_up(shape, step, dtype, seed):
    info = np.iinfo(dtype)
    block = np.random.default_rng(seed).integers(info.min, info.max, (2, *shape), dtype, endpoint=True)
    np.testing.assert_array_equal(mean(block, step), brute(block, step))


def test_means_of_extremes_do_not_overflow():
    for dtype in ("u1", "u2", "i2", "i4", "u4", "f4"):
        top = np.finfo(dtype).max if dtype == "f4" else np.iinfo(dtype).max
        assert mean(np.full((1, 2, 2, 2), top, dtype), (2, 2, 2)).item() == top
    assert np.isnan(mean(np.full((1, 2, 2, 2), np.nan, "f4"), (2, 2, 2))).all()


def make(path, shape=(1, 40, 70, 90), voxel_size=(4, 4, 4), **options):
    volume = create_volume(path, shape=shape, dtype="u1", voxel_size=voxel_size, unit="nm", **options)
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    volume.write(Box.of(volume.spatial), array)
    return array


@pytest.mark.parametrize(
    "options",
    [{"chunks": (16, 16, 16), "shards": (32, 32, 32)}, {"chunks": (16, 16, 16), "version": "0.4"}],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_levels_are_means_of_the_level_above(tmp_path, options, channels):
    path = tmp_path / "a.zarr"
    array = make(path, shape=(channels, 40, 70, 90), attrs={"vol2vol": {"how": 1}}, **options)
    assert build_pyramid(path) == 4
    group = zarr.open_group(path, mode="r")
    above = array
    for level in range(1, 4):
        above = mean(above, (2, 2, 2))
        np.testing.assert_array_equal(group[str(level)][...].reshape(above.shape), above)
        assert open_volume(path, level=level).voxel_size == (4 * 2**level,) * 3
    assert max(above.shape[1:]) <= 16
    image = open_ome_zarr(group)
    scales = (image.attributes if "version" in options else image.attributes.ome).multiscales[0]
    shift = scales.datasets[2].coordinateTransformations[1].translation
    assert list(shift) == [0.0] * (channels > 1) + [6.0] * 3  # centre of 4 voxels of 4 nm
    assert group.attrs["vol2vol"] == {"how": 1}
    np.testing.assert_array_equal(open_volume(path).read(Box.of((40, 70, 90))), array)


def test_long_voxels_wait_until_the_others_have_caught_up(tmp_path):
    make(tmp_path / "a.zarr", shape=(1, 10, 64, 64), voxel_size=(40, 5, 5), chunks=(4, 4, 4))
    build_pyramid(tmp_path / "a.zarr")
    sizes = [tuple(level["voxel_size"]) for level in open_volume(tmp_path / "a.zarr").describe()["levels"]]
    assert sizes == [(40, 5, 5), (40, 10, 10), (40, 20, 20), (40, 40, 40), (80,) * 3, (160,) * 3]


def test_planes_and_chosen_numbers_of_levels(tmp_path):
    make(tmp_path / "a.zarr", shape=(1, 1, 64, 64), chunks=(1, 16, 16))
    assert build_pyramid(tmp_path / "a.zarr", levels=2) == 2
    assert open_volume(tmp_path / "a.zarr", level=1).spatial == (1, 32, 32)
    assert build_pyramid(tmp_path / "a.zarr", levels=99) == 7
    assert open_volume(tmp_path / "a.zarr", level=6).spatial == (1, 1, 1)
    assert build_pyramid(tmp_path / "a.zarr", levels=1) == 1


def test_starting_again_gives_the_same_bytes(tmp_path):
    path = tmp_path / "a.zarr"
    make(path, chunks=(16, 16, 16), shards=(32, 32, 32))
    build_pyramid(path)
    first = {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file()}
    for file in ("1/c/0/1/0", "2/zarr.json"):
        (path / file).unlink()
    build_pyramid(path)
    assert {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file()} == first


def test_a_pyramid_that_is_cut_short_lists_no_level(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    make(path, chunks=(16, 16, 16))
    build_pyramid(path)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vol2vol.volumes.pyramid.mean", stop)
    with pytest.raises(KeyboardInterrupt):
        build_pyramid(path)
    assert len(open_volume(path).describe()["levels"]) == 1
    assert json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]


def test_only_our_images_get_a_pyramid(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4, 4), dtype="u1")
    with pytest.raises(BadInput, match="not an OME-Zarr written by vol2vol"):
        build_pyramid(tmp_path / "a.zarr")
