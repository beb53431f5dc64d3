"""`vol2vol phantom`: every kind is written, described and refused in one line."""

import json

import numpy as np
import pytest

from vol2vol import open_volume
from vol2vol.cli import main
from vol2vol.geometry import Box


def run(capsys, *words):
    capsys.readouterr()
    code = main(["phantom", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def values(path):
    with open_volume(path) as volume:
        return volume.read(Box.of(volume.spatial)), volume


@pytest.mark.parametrize("shape", ["40,50", "9,30,20"])
def test_circles_and_spheres(tmp_path, capsys, shape):
    words = ["circles", "--out", tmp_path, "--shape", shape, "--images", 2, "--tests", 1, "--diameter", 8, "--json"]
    code, out, _ = run(capsys, *words, "--noise", "code")
    paths = json.loads(out)
    assert code == 0
    assert {name: len(files) for name, files in paths.items()}["target-labels"] == 2
    (white, _), (coloured, _), (labels, _) = (values(paths[n][1]) for n in ("source", "target", "target-labels"))
    assert white.shape[1:] == coloured.shape[1:] == (1, *map(int, shape.split(",")))[-3:]
    assert {*np.unique(coloured)} == {0, 255}
    np.testing.assert_array_equal(coloured.sum(0) > 0, labels[0] > 0)
    assert run(capsys, *words, "--noise", "code")[0] == 0
    code, _, err = run(capsys, *words, "--noise", "none")
    assert code == 2
    assert "exists and shows something else: give --overwrite" in err


def test_nuclei_have_the_grey_values_of_the_paper(tmp_path, capsys):
    code, out, _ = run(capsys, "nuclei", "--out", tmp_path, "--shape", "24,40,40", "--images", 1, "--tests", 0)
    assert code == 0
    assert out.splitlines() == [f"{name}: {tmp_path}/{name}/0000.zarr" for name in ("source", "source-labels")]
    (grey, _), (labels, _) = (values(tmp_path / name / "0000.zarr") for name in ("source", "source-labels"))
    inside = labels > 0
    assert 0.15 < inside.mean() < 0.35
    for where, mean in ((inside, 130), (~inside, 10)):
        assert grey[where].mean() == pytest.approx(mean, abs=0.3)
        assert grey[where].std() == pytest.approx(3.33, abs=0.2)


def test_tissue_is_that_of_the_demo(tmp_path, capsys):
    code, out, _ = run(capsys, "tissue", "--out", tmp_path, "--shape", "16,24", "--json")
    assert code == 0
    assert [*json.loads(out)] == ["source", "target", "source_in_target", "source_mito"]
    assert values(tmp_path / "source.zarr")[0].shape == (1, 1, 16, 24)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["circle"], "there is no phantom 'circle': use one of circles, stripes, nuclei, tissue"),
        (["circles"], "--out is missing"),
        (["circles", "--shape", "5"], "--shape '5' must be 2 or 3 whole numbers"),
        (["circles", "--shape", "0,5"], "shape"),
        (["circles", "--shape", "50,50", "--count", "90", "--diameter", "20"], "would take 5.8 times its space"),
        (["circles", "--shape", "50,50", "--count", "9", "--diameter", "20"], "of 9 circles of diameter 20 in 50 x 50"),
        (["circles", "--diameter", "nan"], "diameter"),
        (["circles", "--images", "-3", "--shape", "50,50"], "-3 images"),
        (["nuclei", "--elongation", "2,1"], "the lowest and the highest"),
        (["nuclei", "--grey", "10"], "--grey '10' must be 2 whole numbers"),
        (["nuclei", "--grey", "10,300"], "foreground"),
        (["tissue", "--shape", "0,9,9"], "at least 1 voxel"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(words, expected, tmp_path, capsys):
    given = [] if words in (["circle"], ["circles"]) else ["--out", tmp_path / "new"]
    code, out, err = run(capsys, *words, *given)
    assert code == 2
    assert not out
    assert len(err.splitlines()) == 1
    assert expected in err
    assert not (tmp_path / "new").exists()


def test_help_names_every_kind(capsys):
    for words in ([], ["--help"]):
        code, out, _ = run(capsys, *words)
        assert code == 0
        assert all(f"  {kind} " in out for kind in ("circles", "nuclei", "tissue"))
    for kind in ("circles", "nuclei", "tissue"):
        code, out, err = run(capsys, kind, "--help")
        assert code == 0
        assert not err
        assert "%%" not in out
        assert "default: None" not in out
