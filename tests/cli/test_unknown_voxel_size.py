"""Tests of files without a voxel size: only operations that depend on it ask for it."""

import json
import logging

import numpy as np
import pytest
import tifffile

import vol2vol
from vol2vol.cli import main
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.protocol import Need
from vol2vol.sampling import STILL, Aligned, Patches

SHAPE = (12, 20, 24)


def run(capsys, *words, code=0):
    """Run a verb and return what it printed, or the line of its error."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return err if code else out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stack and an image without a voxel size, the stack with a voxel size, and a 2D model of the identity."""
    folder = tmp_path_factory.mktemp("unsized")
    stack = np.random.default_rng(0).integers(1, 255, SHAPE, np.uint8)
    tifffile.imwrite(folder / "plain.tif", stack, photometric="minisblack")
    tifffile.imwrite(folder / "flat.tif", stack[0])
    size = {f"PhysicalSize{a}": v for a, v in zip("ZYX", (40, 8, 8), strict=True)}
    units = {f"PhysicalSize{a}Unit": "nm" for a in "ZYX"}
    tifffile.imwrite(folder / "sized.tif", stack, ome=True, metadata={"axes": "ZYX", **size, **units})
    vol2vol.fit_baseline("identity", folder / "plain.tif", folder / "plain.tif", folder / "model")
    return folder


def test_it_is_noted_once_per_file_and_not_of_every_file_of_many(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("vol2vol.volumes.space._noted", set())
    for number in range(5):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.zeros((5, 6), np.uint8))
    with caplog.at_level(logging.INFO, logger="vol2vol"):
        for number in (0, 0, 1, 2, 3, 4):
            volume = vol2vol.open_volume(tmp_path / f"{number}.tif")
            assert (volume.sized, volume.voxel_size, volume.unit) == (False, (1.0, 1.0, 1.0), "")
    notes = [record.message for record in caplog.records]
    assert len(notes) == 3
    assert "0.tif has no voxel size: it is counted in voxels" in notes[0]
    assert "further files are not listed" in notes[2]


def test_info_says_that_it_is_not_known(folder, capsys):
    description = json.loads(run(capsys, "info", folder / "plain.tif", "--json"))
    assert (description["voxel_size"], description["unit"], description["offset"]) == (None, "", None)


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_a_prediction_of_it_does_not_know_it_either(folder, capsys, tmp_path, name):
    run(capsys, "predict", folder / "model", folder / "plain.tif", tmp_path / name)
    with vol2vol.open_volume(tmp_path / name) as volume:
        assert (volume.sized, volume.voxel_size, volume.unit) == (False, (1.0, 1.0, 1.0), "")
    with vol2vol.open_volume(tmp_path / name, voxel_size=(40, 8, 8), unit="nm") as volume:
        assert (volume.sized, volume.voxel_size, volume.unit) == (True, (40.0, 8.0, 8.0), "nanometer")


@pytest.mark.parametrize("name", ["part.zarr", "part.tif"])
def test_a_region_of_it_lies_so_many_voxels_on_until_their_size_is_stated(folder, capsys, tmp_path, name):
    run(capsys, "predict", folder / "model", folder / "plain.tif", tmp_path / name, "--roi", "2:,5:,:")
    assert vol2vol.open_volume(tmp_path / name).offset == (2.0, 5.0, 0.0)
    assert vol2vol.open_volume(tmp_path / name, voxel_size=(40, 8, 8), unit="nm").offset == (80.0, 40.0, 0.0)


def test_orthoslices_ask_for_it_and_the_cure_works(folder, capsys, tmp_path):
    words = ("predict", folder / "model", folder / "plain.tif", tmp_path / "out.zarr", "--assembly", "ortho")
    line = run(capsys, *words, code=2)
    assert "plain.tif has no voxel size, which orthoslices need: give --voxel-size Z,Y,X (and --unit)" in line
    assert not (tmp_path / "out.zarr").exists()
    run(capsys, *words, "--voxel-size", "1,1,1")


def test_prepare_asks_where_it_resamples(folder, capsys, tmp_path):
    words = ("prepare", folder / "plain.tif", tmp_path / "out.zarr", "--crop", "1:9,:,:")
    run(capsys, *words)
    assert vol2vol.open_volume(tmp_path / "out.zarr").offset == (1.0, 0.0, 0.0)
    more = ("--resample", "16,16,16", "--overwrite")
    assert "which resampling needs" in run(capsys, *words, *more, code=2)
    run(capsys, *words, *more, "--voxel-size", "8,8,8", "--unit", "nm")
    recipe = {"voxel_size": [8, 8, 8], "unit": "nm", "steps": [{"step": "resample", "voxel_size": [16, 16, 16]}]}
    [output] = vol2vol.prepare(folder / "plain.tif", tmp_path / "recipe.zarr", recipe)
    assert (output.voxel_size, output.shape) == ((16.0, 16.0, 16.0), (1, 6, 10, 12))


def test_patches_ask_where_z_is_turned_into_y_and_x(folder):
    plain, flat, grey = (
        vol2vol.open_volume(folder / "plain.tif"),
        vol2vol.open_volume(folder / "flat.tif"),
        fixed(0, 255),
    )
    assert len(Patches([flat], grey, (8, 8), background=None)._sources[0].turns) == 2
    assert len(Patches([plain], grey, (8, 8), background=None)._sources[0].turns) == 2
    Patches([plain], grey, (8, 8, 8), background=None, augment=STILL)
    with pytest.raises(vol2vol.errors.BadInput, match=r"3D needs \(data\.augment\.turns=none .*`voxel_size` Z,Y,X"):
        Patches([plain], grey, (8, 8, 8), background=None)
    with pytest.raises(vol2vol.errors.BadInput, match=r"has no voxel size, which planes across .*`voxel_size`"):
        Patches([plain], grey, (8, 8), planes=("z", "y"), background=None)


def test_a_mask_without_it_has_that_of_its_image(folder):
    plain, sized = vol2vol.open_volume(folder / "plain.tif"), vol2vol.open_volume(folder / "sized.tif")
    needs = (Need(name="source", kind="image"), Need(name="target", kind="mask"))
    for image, mask in ((plain, sized), (sized, plain)):
        both = Aligned(needs, {"source": image, "target": mask}, {"source": fixed(0, 255)})
        assert (both.sized, both.voxel_size) == (True, (40.0, 8.0, 8.0))
    assert not Aligned(needs, {"source": plain, "target": plain}, {"source": fixed(0, 255)}).sized


def test_pairs_of_which_one_knows_it_are_compared(folder, capsys):
    run(capsys, "evaluate", "structure", folder / "plain.tif", folder / "sized.tif")


def test_spectra_ask_where_only_one_domain_knows_it(folder, capsys, tmp_path):
    words = ("baseline", "spectrum", "--source", folder / "plain.tif", "--target")
    run(capsys, *words, folder / "plain.tif", "--out", tmp_path / "alike")
    line = run(capsys, *words, folder / "sized.tif", "--out", tmp_path / "other", code=2)
    assert "plain.tif has no voxel size, which " in line
    run(capsys, *words, folder / "sized.tif", "--out", tmp_path / "other", "--voxel-size", "40,8,8", "--unit", "nm")


def test_a_watershed_asks_in_3d(folder, capsys, tmp_path):
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 3:9, 4:9, 4:20] = 1
    for name, voxels in (("deep.tif", mask[0]), ("flat.tif", mask[0, 5])):
        tifffile.imwrite(tmp_path / name, voxels, photometric="minisblack")
    words = ("evaluate", "overlap", "--instances", "watershed")
    run(capsys, *words, tmp_path / "flat.tif", tmp_path / "flat.tif")
    assert "a watershed in 3D needs" in run(capsys, *words, tmp_path / "deep.tif", tmp_path / "deep.tif", code=2)
    run(capsys, *words, tmp_path / "deep.tif", tmp_path / "deep.tif", "--voxel-size", "1,1,1")


def test_what_is_half_known_is_asked_rather_than_lost(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeY": 8.0, "PhysicalSizeX": 8.0}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.uint8), ome=True, metadata=metadata)
    with pytest.raises(vol2vol.errors.BadInput, match="no voxel size along z: give `voxel_size` Z,Y,X"):
        vol2vol.open_volume(tmp_path / "a.tif")
    with vol2vol.open_volume(tmp_path / "a.tif", voxel_size=(40, 8, 8)) as volume:
        assert volume.read(Box((0, 0, 0), (1, 1, 1))).shape == (1, 1, 1, 1)
