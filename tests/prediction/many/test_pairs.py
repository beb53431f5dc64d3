"""Which inputs are many, which outputs are folders: decided by names, and for folders of images by what they hold."""

import os

import numpy as np
import pytest
import tifffile

from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.prediction.many.pairs import check_folder, is_folder, pair_files


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A stack, a folder of images of their own, an image, and a folder for outputs."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, images in {"stack": ("z1", "z2", "z3"), "photos": ("cat", "dog"), ".": ("a", "b[1]")}.items():
        (folder / name).mkdir(exist_ok=True)
        for image in images:
            tifffile.imwrite(folder / name / f"{image}.tif", np.zeros((9, 8), np.uint8), photometric="minisblack")
    (folder / "there").mkdir()
    return folder


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        (("a.tif",), "out.zarr", False),
        (("a.tif",), "out.zarr/", False),
        (("a.tif",), "out.TIF", False),
        (("a.tif",), "out", False),
        (("a.tif",), "out.png", False),
        (("a.tif",), "out/", True),
        (("a.tif",), "there", True),
        (("a.tif", "b[1].tif"), "out", True),
        (("a.tif", "b[1].tif"), "out.zarr", True),
        (("*.tif",), "out.zarr", True),
        (("?.tif",), "out", True),
        (("b[1].tif",), "out", False),
        (("stack",), "out", False),
        (("stack",), "out/", True),
        (("photos",), "out", True),
        (("photos",), "out.zarr", False),
        (("s3://bucket/em.zarr",), "s3://bucket/out.zarr", False),
        (("s3://bucket/em.zarr",), "s3://bucket/out/", True),
    ],
)
def test_what_is_a_folder_of_outputs(inputs, output, expected, world, monkeypatch):
    monkeypatch.chdir(world)
    assert is_folder(inputs, output, None) is expected


def test_a_pattern_and_a_folder_are_many_and_a_stack_is_one(world, monkeypatch):
    monkeypatch.chdir(world)

    def names(inputs, pattern=None):
        return [os.path.basename(file.output) for file in pair_files(inputs, "out", "auto", pattern)]

    assert names("*.tif") == ["a.tif", "b[1].tif"]
    assert names(["photos", "a.tif"]) == ["cat.tif", "dog.tif", "a.tif"]
    assert names("stack") == ["stack.zarr"]
    assert names("stack/*") == ["z1.tif", "z2.tif", "z3.tif"]
    assert names("photos", "*.tif") == ["photos.zarr"]
    (world / "photos" / "out").mkdir()
    assert [file.output for file in pair_files("photos/*", "photos/out", "auto", None)] == [
        str(world / "photos" / "out" / f"{name}.tif") for name in ("cat", "dog")
    ]


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("out.zarr", "is the name of one volume, and there are 2 inputs"),
        ("out.png", "cannot be written: let its name end in .zarr"),
        ("a.tif/", "is the name of one volume"),
        ("http://host/out", "give a local folder, s3:// or gs://"),
        ("model", "is the model"),
        ("file", "is not a folder"),
    ],
)
def test_places_that_are_no_folder_for_outputs_are_refused(folder, said, world, monkeypatch):
    monkeypatch.chdir(world)
    (world / "file").write_text("")
    with pytest.raises(BadInput, match=said):
        check_folder(folder, 2, "model")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.tif", "out"], "out cannot be written: use a name that ends in .zarr (OME-Zarr), .tif or, for a folder, /"),
        (
            ["a.tif", "out.tif", "--suffix", ".zarr"],
            "--suffix is for a folder of outputs, and out.tif is a single output",
        ),
        (["*.tif", "out.tif"], "out.tif is the name of one volume, and there are 2 inputs: name a folder"),
        (["c*.tif", "out/"], "c*.tif fits no file"),
        (["a.tif"], "see vol2vol predict --help"),
    ],
)
def test_the_command_line_says_what_to_write(words, said, models, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    assert main(["predict", str(models[2]), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (world / "out").exists()
