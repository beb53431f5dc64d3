"""Tests of `--time N`: every verb works on one of several time points, and asks for it if it is not given."""

import json

import numpy as np
import pytest
import tifffile

import vol2vol
from vol2vol.cli import main
from vol2vol.geometry import Box

SIZE = ("--voxel-size", "8,8,8", "--unit", "nm")


def run(capsys, *words, code=0):
    """Run a verb and return what it printed, or the line of its error."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return err if code else out


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """A TIFF of three time points without a voxel size, one of them as a file, and a model of the identity."""
    folder = tmp_path_factory.mktemp("time")
    frames = np.random.default_rng(0).integers(1, 255, (3, 12, 20, 24), np.uint8)
    tifffile.imwrite(folder / "movie.tif", frames, ome=True, metadata={"axes": "TZYX"})
    tifffile.imwrite(folder / "still.tif", frames[1], ome=True, metadata={"axes": "ZYX"})
    words = ["baseline", "identity", "--source", folder / "movie.tif", "--target", folder / "still.tif"]
    assert main([str(word) for word in [*words, "--out", folder / "model", "--time", "1", *SIZE]]) == 0
    return folder, frames


def whole(path):
    with vol2vol.open_volume(path) as volume:
        return volume.read(Box.of(volume.spatial))[0]


def test_info_says_how_many_there_are(movie, capsys):
    folder, _ = movie
    description = json.loads(run(capsys, "info", folder / "movie.tif", *SIZE, "--json"))
    assert (description["time_points"], description["shape"]) == (3, [1, 12, 20, 24])


def test_a_prediction_is_of_one_and_remembers_which(movie, capsys, tmp_path):
    folder, frames = movie
    words = ("predict", folder / "model", folder / "movie.tif", tmp_path / "out.zarr", *SIZE)
    assert "has 3 time points: choose one with --time 0 to --time 2" in run(capsys, *words, code=2)
    run(capsys, *words, "--time", "2")
    assert np.array_equal(whole(tmp_path / "out.zarr"), frames[2])
    assert "voxels computed: 0" in run(capsys, *words)
    assert "was begun with time 2, now 1" in run(capsys, *words, "--time", "1", code=2)
    printed = run(
        capsys, "verify", tmp_path / "out.zarr", "--model", folder / "model", "--input", folder / "movie.tif", *SIZE
    )
    assert "differing: 0" in printed
    assert "no 7: choose one with --time 0" in run(capsys, *words, "--time", "7", code=2)


def test_a_killed_prediction_goes_on_with_its_own(movie, tmp_path):
    folder, frames = movie
    settings = vol2vol.PredictSettings(tile="8")

    def kill(done, total, voxels):
        if done == 0:
            raise KeyboardInterrupt

    how = {"voxel_size": (8, 8, 8), "unit": "nm"}
    job = (folder / "model", folder / "movie.tif", tmp_path / "out.zarr", settings)
    with pytest.raises(KeyboardInterrupt):
        vol2vol.predict(*job, time=2, progress=kill, **how)
    vol2vol.predict(*job, **how)
    assert np.array_equal(whole(tmp_path / "out.zarr"), frames[2])


def test_prepare_takes_one(movie, capsys, tmp_path):
    folder, frames = movie
    words = ("prepare", folder / "movie.tif", tmp_path / "out.tif", "--crop", "1:5,:,2:20", *SIZE)
    assert "choose one with --time 0 to --time 2" in run(capsys, *words, code=2)
    run(capsys, *words, "--time", "1")
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), frames[1][1:5, :, 2:20])
    assert "was begun with time 1, now 0" in run(capsys, *words, "--time", "0", code=2)


def test_evaluate_pairs_a_movie_with_one_of_its_time_points(movie, capsys):
    folder, _ = movie
    words = ("evaluate", "fidelity", folder / "still.tif", folder / "movie.tif", *SIZE)
    assert json.loads(run(capsys, *words, "--time", "1", "--json"))["pearson"]["value"] == pytest.approx(1)
    assert json.loads(run(capsys, *words, "--time", "0", "--json"))["pearson"]["value"] < 0.5
    assert "choose one with --time 0 to --time 2" in run(capsys, *words, code=2)
    alone = ("evaluate", "fidelity", folder / "still.tif", folder / "still.tif", *SIZE, "--time", "1")
    assert "has one time point, 0, and no 1: leave out --time" in run(capsys, *alone, code=2)
