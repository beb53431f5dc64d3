"""Tests that outputs keep the position in space: predictions, regions, crops, resampled volumes, parts of a split."""

import json
import logging

import h5py
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr

import vol2vol
from vol2vol.cli import main
from vol2vol.evaluation.compare import evaluate_structure
from vol2vol.geometry import Box

SHAPE, SIZE, PLACE = (12, 20, 24), (40.0, 8.0, 8.0), (4000.0, 1600.0, -800.0)


def foreign(path, *, shape=SHAPE, place=PLACE, size=SIZE, unit="nanometer", whole=None):
    """Write an OME-Zarr as other programs do; `place` is the translation of its only level."""
    values = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("s0", shape=shape, chunks=(8, 16, 16), dtype="u1")[:] = values
    steps = [{"type": "scale", "scale": list(size)}]
    steps += [] if place is None else [{"type": "translation", "translation": list(place)}]
    image = {
        "name": "raw",
        "axes": [{"name": name, "type": "space", "unit": unit} for name in "zyx"],
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
        **({} if whole is None else {"coordinateTransformations": whole}),
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


def stated(path):
    """Return the translations of the levels in the metadata of an OME-Zarr; None where there is none."""
    image = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    steps = [dataset["coordinateTransformations"] for dataset in image["datasets"]]
    return [next((s["translation"] for s in level if s["type"] == "translation"), None) for level in steps]


def offset(path, **how):
    with vol2vol.open_volume(path, **how) as volume:
        return volume.offset if volume.placed else None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of the identity."""
    folder = tmp_path_factory.mktemp("places")
    source = foreign(str(folder / "raw.zarr"))
    return vol2vol.fit_baseline("identity", source, source, folder / "model")


def test_translations_of_a_level_and_of_its_image_are_applied_in_their_order(tmp_path):
    whole = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}, {"type": "translation", "translation": [1.0, 2.0, 3.0]}]
    path = foreign(str(tmp_path / "raw.zarr"), whole=whole)
    assert offset(path) == (8001.0, 3202.0, -1597.0)
    with vol2vol.open_volume(path) as volume:
        assert volume.voxel_size == (80.0, 16.0, 16.0)


def test_a_prediction_lies_where_its_input_lies(model, tmp_path):
    source = foreign(str(tmp_path / "crop.zarr"))
    vol2vol.predict(model, source, tmp_path / "out.zarr")
    assert stated(tmp_path / "out.zarr")[0] == list(PLACE)
    vol2vol.predict(model, source, tmp_path / "out.tif")
    assert offset(tmp_path / "out.tif") == PLACE
    region = vol2vol.PredictSettings(roi="3:9,4:,8:20")
    for name in ("part.zarr", "part.tif"):
        vol2vol.predict(model, source, tmp_path / name, region)
        assert offset(tmp_path / name) == (4120.0, 1632.0, -736.0)


def n5(path, *, resolution=SIZE, offset=PLACE):
    """Write an N5 whose array states axes and lists in the order of OpenOrganelle."""
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/raw"}, "create": True}
    spec["metadata"] = {"dimensions": SHAPE[::-1], "blockSize": [8, 8, 8], "dataType": "uint8"}
    ts.open({**spec, "metadata": {**spec["metadata"], "compression": {"type": "gzip"}}}).result()[...] = 1
    file = path / "raw/attributes.json"
    transform = {"axes": list("zyx"), "scale": resolution, "translate": offset, "units": ["nm"] * 3}
    file.write_text(json.dumps({**json.loads(file.read_text()), "transform": transform}))
    return path / "raw"


def hdf5(path):
    """Write an HDF5 as CREMI does: resolution and offset in nanometers."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", data=np.ones(SHAPE, np.uint8))
        data.attrs.update(resolution=SIZE, offset=PLACE)
    return f"{path}:/raw"


@pytest.mark.parametrize("kind", ["n5", "hdf5"])
def test_places_of_other_formats_are_kept(model, tmp_path, kind):
    source = n5(tmp_path / "raw.n5") if kind == "n5" else hdf5(tmp_path / "raw.h5")
    vol2vol.predict(model, source, tmp_path / "out.zarr", vol2vol.PredictSettings(roi="3:9,4:,8:20"))
    assert stated(tmp_path / "out.zarr")[0] == [4120.0, 1632.0, -736.0]
    vol2vol.prepare(source, tmp_path / "crop.tif", {"steps": [{"step": "crop", "box": "1:,:,2:"}]})
    assert offset(tmp_path / "crop.tif") == (4040.0, 1600.0, -784.0)


def test_a_prediction_of_a_volume_without_a_place_has_none_but_a_region_of_it_has(model, tmp_path):
    source = foreign(str(tmp_path / "raw.zarr"), place=None)
    vol2vol.predict(model, source, tmp_path / "out.zarr")
    assert stated(tmp_path / "out.zarr")[0] is None
    vol2vol.predict(model, source, tmp_path / "part.zarr", vol2vol.PredictSettings(roi="3:,:,:"))
    assert stated(tmp_path / "part.zarr")[0] == [120.0, 0.0, 0.0]


def test_coarser_levels_of_a_prediction_are_right_to_half_a_voxel(model, tmp_path):
    path = tmp_path / "out.zarr"
    source = foreign(str(tmp_path / "crop.zarr"), shape=(9, 10, 300), size=(8.0, 8.0, 8.0))
    vol2vol.predict(model, source, path)
    places = stated(path)
    assert len(places) > 1
    for level, place in enumerate(places):
        half = 4.0 * (2**level - 1)
        assert place == [p + half for p in PLACE]
        assert offset(path, level=level) == tuple(place)


def test_crops_and_parts_of_a_split_lie_where_they_were_cut(tmp_path):
    source = foreign(str(tmp_path / "crop.zarr"))
    steps = [{"step": "crop", "box": "2:,5:,:"}]
    recipe = {"steps": steps, "split": {"axis": "z", "parts": {"a": 4, "b": 5}, "gap": 1}}
    vol2vol.prepare(source, tmp_path / "out.tif", recipe)
    assert offset(tmp_path / "out-a.tif") == (4080.0, 1640.0, -800.0)
    assert offset(tmp_path / "out-b.tif") == (4080.0 + 5 * 40, 1640.0, -800.0)


@pytest.mark.parametrize("size", [(40.0, 16.0, 16.0), (20.0, 4.0, 24.0), (40.0, 8.0, 8.0)])
def test_a_resampled_volume_keeps_its_physical_corner(tmp_path, size):
    source = foreign(str(tmp_path / "crop.zarr"))
    steps = [{"step": "crop", "box": "1:,:,2:"}, {"step": "resample", "voxel_size": list(size)}]
    vol2vol.prepare(source, tmp_path / "out.zarr", {"steps": steps})
    with vol2vol.open_volume(tmp_path / "out.zarr") as volume:
        corner = np.subtract(volume.offset, np.divide(volume.voxel_size, 2))
    cut = np.add(PLACE, (40.0, 0.0, 16.0))
    assert np.allclose(corner, cut - np.divide(SIZE, 2), rtol=0, atol=1e-9)


def test_averaging_by_hand_lies_where_resampling_to_twice_the_size_lies(tmp_path):
    source = foreign(str(tmp_path / "crop.zarr"))
    vol2vol.prepare(source, tmp_path / "out.zarr", {"steps": [{"step": "resample", "voxel_size": [80, 16, 16]}]})
    centre_of_the_first_two = np.add(PLACE, np.divide(SIZE, 2))
    assert np.allclose(offset(tmp_path / "out.zarr"), centre_of_the_first_two, rtol=0, atol=1e-9)


def test_places_are_converted_with_the_voxel_size(tmp_path):
    path = foreign(str(tmp_path / "crop.zarr"), place=(4.0, 1.6, -0.8), size=(0.04, 0.008, 0.008), unit="micrometer")
    with vol2vol.open_volume(path, voxel_size=(40, 8, 8), unit="nm") as volume:
        assert volume.offset == PLACE


def test_a_level_of_a_pyramid_has_its_own_place(tmp_path, capsys):
    source = foreign(str(tmp_path / "crop.zarr"), size=(8.0, 8.0, 8.0))
    vol2vol.prepare(source, tmp_path / "fine.zarr", {"chunks": [8, 8, 8]})
    vol2vol.prepare(tmp_path / "fine.zarr", tmp_path / "coarse.tif", {"steps": []}, level=1)
    assert offset(tmp_path / "coarse.tif") == tuple(p + 4 for p in PLACE)
    assert main(["info", str(tmp_path / "coarse.tif")]) == 0
    assert "offset: 4004, 1604, -796" in capsys.readouterr().out


def test_a_pair_that_states_two_places_is_warned_of_once(tmp_path, caplog):
    here, there = foreign(str(tmp_path / "here.zarr")), foreign(str(tmp_path / "there.zarr"), place=(4100, 1600, -800))
    near = foreign(str(tmp_path / "near.zarr"), place=(4.0195, 1.6, -0.8), size=(0.04, 0.008, 0.008), unit="micrometer")
    nowhere = foreign(str(tmp_path / "nowhere.zarr"), place=None)
    first = vol2vol.open_volume(here)
    with caplog.at_level(logging.WARNING):
        for other in (near, nowhere, here):
            evaluate_structure(first, vol2vol.open_volume(other))
        assert not caplog.records
        for _ in range(2):
            evaluate_structure(first, vol2vol.open_volume(there))
    [record] = caplog.records
    assert "lies at 4000,1600,-800 nanometer and " in record.message
    assert "at 4100,1600,-800 nanometer: is it the same tissue?" in record.message


def test_positions_of_a_stage_are_not_places(tmp_path):
    plane = {"PositionX": [3.0], "PositionXUnit": ["reference frame"], "PositionY": [4.0], "PositionYUnit": ["um"]}
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Plane": plane}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((8, 9), np.uint8), metadata=metadata)
    assert offset(tmp_path / "a.ome.tif") == (0.0, 4.0, 0.0)


def test_a_tiff_with_a_place_is_valid_for_other_readers(tmp_path):
    box = Box((0, 0, 0), (3, 4, 5))
    with vol2vol.create_volume(
        tmp_path / "a.tif", shape=(1, 3, 4, 5), dtype="u1", voxel_size=SIZE, unit="nm", offset=PLACE
    ) as volume:
        volume.write(box, np.arange(60, dtype=np.uint8).reshape(1, 3, 4, 5))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert np.array_equal(file.asarray(), np.arange(60).reshape(3, 4, 5))
        plane = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Plane"]
    assert (plane["PositionZ"], plane["PositionY"], plane["PositionX"]) == PLACE
    assert plane["PositionZUnit"] == "nm"
