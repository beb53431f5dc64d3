"""Mistakes in what `vol2vol evaluate` is asked are one line that names them."""

import pytest
from tests.evaluation.stored_volumes import refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seams", "clean.zarr"], "does not record how it was tiled"),
        (["seams", "clean.zarr", "--origin", "1,1,1"], "add --step"),
        (["seams", "clean.zarr", "--overlap", "1,1,1"], "add --step"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--overlap", "-1,0,0"], "three integers"),
        (["seams", "clean.zarr", "--step", "16,16"], "three whole numbers"),
        (["seams", "clean.zarr", "--step", "16,16,1.5"], "three whole numbers"),
        (["seams", "clean.zarr", "--step", "16,0,16"], "at least 1"),
        (["seams", "clean.zarr", "--blind", "--step", "16,16,16"], "blind"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--source", "small.zarr"], "name the volume"),
        (["seams", "clean.zarr", "--step", "16,16,16", "--plot", "a.pdf"], ".png"),
        (
            ["seams", "clean.zarr", "--step", "16,16,16", "--plot", "no/such/a.png"],
            "the folder no/such does not exist: create it first",
        ),
        (["seams", "nothing.zarr"], "nothing.zarr"),
        (["fidelity", "clean.zarr", "small.zarr"], "one shape"),
        (["structure", "clean.zarr", "small.zarr"], "one shape"),
        (["structure", "clean.zarr", "empty.zarr"], "everywhere"),
        (["overlap", "chance.zarr", "empty.zarr"], "empty"),
        (["overlap", "chance.zarr", "small.zarr"], "one shape"),
        (["overlap", "chance.zarr", "mask.zarr", "--threshold", "2"], "not a probability"),
        (["overlap", "chance.zarr", "mask.zarr", "--threshold", "much"], "must be numbers"),
        (["overlap", "chance.zarr", "mask.zarr", "--depth", "2"], "add --instances watershed"),
        (["overlap", "chance.zarr", "mask.zarr", "--near", "4"], "add --seams TRANSLATED"),
        (
            ["overlap", "chance.zarr", "mask.zarr", "--threshold", "best", "--validation", "a.zarr", "b.zarr"],
            "leave --threshold out",
        ),
        (["overlap", "chance.zarr", "mask.zarr", "--instances", "watershed", "--depth", "0"], "depth <= reach"),
        (["overlap", "chance.zarr", "mask.zarr", "--least", "0"], "must be 1 voxel or more"),
        (["overlap", "clean.zarr", "mask.zarr"], "not probabilities"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--features", "nowhere"], "no encoder"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["distance", "clean.zarr", "clean.zarr", "clean.zarr", "--keep", "here"], "add --features encoder"),
        (["colours", "clean.zarr"], "colours"),
    ],
)
def test_mistakes_are_one_line(words, message, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert message in refused(capsys, *words)
