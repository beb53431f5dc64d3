"""Tests of photographs, from training on PNG of any names and sizes to predicted RGB images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tests.cli.test_verbs import TINY, run

from vol2vol.cli import main

torch.set_num_threads(1)


def photograph(path, shape, seed):
    """Write an image with structure, grey or RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (-(-shape[0] // 8), -(-shape[1] // 8), *shape[2:]))
    pixels = 50 * np.kron(coarse, np.ones((8, 8, *(1 for _ in shape[2:])), int))[: shape[0], : shape[1]]
    Image.fromarray((pixels + rng.integers(0, 40, shape)).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folders of RGB photographs and of grey ones, with different names and sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    sizes = {"cat.png": (60, 71), "7a3.png": (97, 64), "b 1.png": (53, 53)}
    for name, channels in (("white", (3,)), ("purple", (3,)), ("grey", ())):
        (folder / name).mkdir()
        for seed, (file, size) in enumerate(sizes.items()):
            photograph(folder / name / file, (*size, *channels), seed)
    return folder


def trained(world, source, target, *overrides):
    out = world / f"{source}-{target}"
    words = ["train", *TINY, *overrides, "--source", world / source, "--target", world / target, "--out", out]
    assert main([str(word) for word in words]) == 0
    return out


def test_rgb_photographs_are_trained_on_and_come_out_as_rgb(world, capsys):
    model = trained(world, "white", "purple")
    run(capsys, "predict", model, world / "white" / "cat.png", world / "out.tif")
    with tifffile.TiffFile(world / "out.tif") as file:
        page = file.pages.first
        assert (page.photometric.name, page.planarconfig.name, page.shape) == ("RGB", "CONTIG", (60, 71, 3))
        assert page.dtype == np.uint8
        pixels = page.asarray()
    with Image.open(world / "out.tif") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert pixels.std() > 0
    run(capsys, "predict", model, world / "white" / "cat.png", world / "out.zarr")
    omero = json.loads((world / "out.zarr" / "zarr.json").read_text())["attributes"]["ome"]["omero"]
    assert [channel["label"] for channel in omero["channels"]] == ["red", "green", "blue"]
    assert [channel["color"] for channel in omero["channels"]] == ["FF0000", "00FF00", "0000FF"]


def test_grey_photographs_become_rgb(world, capsys):
    unlike = ("task.lambda_identity=0", "task.ssim_forward=0")
    model = trained(world, "grey", "purple", *unlike)
    run(capsys, "predict", model, world / "grey" / "7a3.png", world / "coloured.tif")
    with Image.open(world / "coloured.tif") as image:
        assert (image.mode, image.size) == ("RGB", (64, 97))
    run(capsys, "predict", model, world / "purple" / "cat.png", world / "back.tif", "--direction", "backward")
    with tifffile.TiffFile(world / "back.tif") as file:
        assert (file.pages.first.photometric.name, file.pages.first.shape) == ("MINISBLACK", (60, 71))


def test_a_picture_is_no_output(world, capsys):
    model = world / "white-purple"
    if not model.exists():
        model = trained(world, "white", "purple")
    capsys.readouterr()
    assert main(["predict", str(model), str(world / "white" / "cat.png"), str(world / "out.png")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert ".zarr" in lines[0]
    assert ".tif" in lines[0]
    assert not (world / "out.png").exists()
