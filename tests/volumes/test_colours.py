"""Written colour images: RGB TIFFs, and the display settings of an OME-Zarr."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from vol2vol.geometry import Box
from vol2vol.volumes import build_pyramid, create_volume, open_volume
from vol2vol.volumes.display import RGB
from vol2vol.volumes.windows import measured, store_windows

RNG = np.random.default_rng(6)


def create(path, array, names=RGB, **options):
    about = {"voxel_size": (2, 1, 1), "unit": "nm", "channel_names": names, "overwrite": True, **options}
    volume = create_volume(path, shape=array.shape, dtype=array.dtype, **about)
    if str(path).endswith(".tif"):  # blocks of a TIFF may be written in any order
        for z in reversed(range(array.shape[1])):
            volume.write(Box((z, 0, 0), (z + 1, *array.shape[2:])), array[:, z : z + 1])
    else:
        volume.write(Box.of(volume.spatial), array)
    volume.set_attrs({"vol2vol": {"complete": True}})
    volume.close()
    return path


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planes", [1, 4])
def test_a_tiff_of_colours_is_rgb(tmp_path, dtype, planes):
    array = RNG.integers(0, np.iinfo(dtype).max, (3, planes, 21, 17), dtype)
    path = create(tmp_path / "a.tif", array)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert (page.photometric.name, page.planarconfig.name, len(file.pages)) == ("RGB", "CONTIG", planes)
        assert (page.samplesperpixel, page.axes) == (3, "YXS")
        np.testing.assert_array_equal(file.asarray().reshape(planes, 21, 17, 3), array.transpose(1, 2, 3, 0))
    if dtype == "u1":
        with Image.open(path) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), array[:, 0].transpose(1, 2, 0))
    with open_volume(path) as volume:
        assert (volume.shape, volume.channel_names, volume.unit) == (array.shape, RGB, "nanometer")
        assert volume.attrs["vol2vol"] == {"complete": True}
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), array)


@pytest.mark.parametrize(
    ("shape", "dtype", "names"),
    [
        ((3, 2, 9, 8), "f4", RGB),
        ((3, 2, 9, 8), "u1", ("DAPI", "GFP", "Cy5")),
        ((2, 2, 9, 8), "u1", ()),
        ((3, 2, 9, 8), "u1", ()),
    ],
)
def test_other_channels_are_planes_of_their_own_with_their_names(tmp_path, shape, dtype, names):
    array = RNG.integers(0, 99, shape).astype(dtype)
    path = create(tmp_path / "a.tif", array, names)
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.photometric.name == "MINISBLACK"
        np.testing.assert_array_equal(file.asarray(), array)
    assert open_volume(path).channel_names == names


def omero_of(path):
    if (path / "zarr.json").exists():
        return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["omero"]
    return json.loads((path / ".zattrs").read_text())["omero"]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_an_ome_zarr_says_how_it_is_shown(tmp_path, version):
    array = RNG.integers(100, 4000, (2, 5, 200, 210), np.uint16)
    array[1] //= 10
    path = create(tmp_path / "a.zarr", array, ("DAPI", "GFP"), version=version)
    build_pyramid(path)
    store_windows(str(path))
    dapi, gfp = omero_of(path)["channels"]
    assert (dapi["label"], gfp["label"]) == ("DAPI", "GFP")
    assert dapi["color"] != gfp["color"]
    for channel, values in ((dapi, array[0]), (gfp, array[1])):
        low, high = np.percentile(values, [0.1, 99.9])
        window = channel["window"]
        assert (window["min"], window["max"]) == (0, 65535)
        assert abs(window["start"] - low) < 2
        assert abs(window["end"] - high) < 2
    volume = open_volume(path)
    assert volume.channel_names == ("DAPI", "GFP")
    assert "omero" not in volume.attrs
    assert len(volume.describe()["levels"]) > 1
    assert "vol2vol" in volume.attrs
    before = omero_of(path)
    build_pyramid(path)
    assert omero_of(path) == before
    np.testing.assert_array_equal(open_volume(path, channels=["GFP"]).read(Box.of(volume.spatial))[0], array[1])


def test_without_names_an_image_invents_none(tmp_path):
    path = create(tmp_path / "a.zarr", RNG.integers(0, 9, (1, 5, 20, 21), np.uint8), ())
    store_windows(str(path))
    [channel] = omero_of(path)["channels"]
    assert "label" not in channel
    assert channel["color"] == "FFFFFF"
    assert open_volume(path).channel_names == ()


def test_colours_are_shown_as_they_are(tmp_path):
    path = create(tmp_path / "a.zarr", RNG.integers(90, 99, (3, 1, 20, 21), np.uint8))
    store_windows(str(path))
    channels = omero_of(path)["channels"]
    assert [channel["color"] for channel in channels] == ["FF0000", "00FF00", "0000FF"]
    assert {(c["window"]["start"], c["window"]["end"]) for c in channels} == {(0, 255)}
    deep = np.stack([np.full(99, 7), np.full(99, 1000), np.arange(99)]).astype(np.uint16)
    assert len({window[2:] for window in measured(deep, RGB)}) == 1


@pytest.mark.parametrize("values", [[[3.0, 3.0]], [[np.nan, np.nan]], [[np.inf, 1.0, 2.0]], [[-1.0, 5.0]]])
def test_windows_of_odd_values_are_numbers_and_not_empty(values):
    [(least, greatest, start, end)] = measured(np.array(values, np.float32), ())
    assert np.isfinite([least, greatest, start, end]).all()
    assert least <= start < end <= greatest


def test_a_large_image_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr("vol2vol.volumes.windows.MOST", 1000)
    array = np.full((1, 5, 700, 30), 40, np.uint8)
    array[:, :, :, :15] = 7
    path = create(tmp_path / "a.zarr", array, ())
    store_windows(str(path))
    window = omero_of(path)["channels"][0]["window"]
    assert (window["start"], window["end"]) == (7, 40)
