"""Tests of colour images that are paired by their file names, from training to RGB TIFF and OME-Zarr."""

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from ome_zarr_models import open_ome_zarr
from PIL import Image

from vol2vol import predict, train
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.volumes import open_volume

SIZES = {"b": (70, 80), "a": (81, 67), "c10": (67, 71), "c9": (67, 71)}
PAIRED = {
    "extends": "small-regress-2d",
    "data": {"patch": 30, "calibration": 4, "labels": {"held_out": 0.4, "held_out_patches": 2}},
    "task": {"network": {"arguments": {"levels": 2, "width": 2}}},
    "train": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2},
}


def photos(folder, sizes, end="", inverted=False):
    """Write a colour image for each name; the image depends on name and size alone."""
    folder.mkdir()
    for name, size in sizes.items():
        pixels = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(255 - pixels if inverted else pixels).save(folder / f"{name}{end}.png")
    return folder


def trained(tmp_path, source, target):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(PAIRED))
    train(tmp_path / "recipe.yaml", source, target, tmp_path / "run", progress=False)
    return tmp_path / "run"


def names_of(run, domain):
    """Return the files that a run's model lists, in the order of training."""
    return [facts["name"] for facts in load_bundle(find_bundle(run)).meta["provenance"]["volumes"][domain]]


def check_outputs(run, image, tmp_path):
    """Predict an image as TIFF and OME-Zarr; check that both hold the same voxels and metadata of colour images."""
    height, width = np.asarray(Image.open(image)).shape[:2]
    predict(run, image, tmp_path / "o.tif")
    predict(run, image, tmp_path / "o.zarr")
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        page = file.pages.first
        assert (page.photometric.name, page.planarconfig.name, page.shape) == ("RGB", "CONTIG", (height, width, 3))
        pixels = page.asarray()
    with Image.open(tmp_path / "o.tif") as shown:
        assert shown.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(shown), pixels)
    group = zarr.open_group(tmp_path / "o.zarr", mode="r")
    open_ome_zarr(group)
    channels = group.attrs["ome"]["omero"]["channels"]
    assert [c["label"] for c in channels] == ["red", "green", "blue"]
    assert [c["color"] for c in channels] == ["FF0000", "00FF00", "0000FF"]
    with open_volume(tmp_path / "o.zarr") as volume:
        stored = volume.read(Box.of(volume.spatial))
    np.testing.assert_array_equal(stored[:, 0].transpose(1, 2, 0), pixels)


def test_pairs_are_the_files_of_one_name(tmp_path):
    source, target = photos(tmp_path / "IM", SIZES), photos(tmp_path / "GT", SIZES, inverted=True)
    run = trained(tmp_path, source, [target / f"{name}.png" for name in SIZES])
    assert names_of(run, "source") == names_of(run, "target") == ["a.png", "b.png", "c9.png", "c10.png"]
    check_outputs(run, source / "c10.png", tmp_path)


def test_pairs_of_one_folder_are_named_by_patterns(tmp_path):
    folder = photos(tmp_path / "scans", SIZES, "_IM")
    for path in photos(tmp_path / "GT", SIZES, "_GT", inverted=True).iterdir():
        path.rename(folder / path.name)
    (folder / "c9_GT.png").rename(folder / "c8_GT.png")
    with pytest.raises(BadInput, match=r"c9_IM\.png \(source\), .*c8_GT\.png \(target\): no partner") as caught:
        trained(tmp_path, folder / "*_IM.png", folder / "*_GT.png")
    assert "a_IM" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    (folder / "c8_GT.png").rename(folder / "c9_GT.png")
    run = trained(tmp_path, folder / "*_IM.png", folder / "*_GT.png")
    assert names_of(run, "target") == ["a_GT.png", "b_GT.png", "c9_GT.png", "c10_GT.png"]
