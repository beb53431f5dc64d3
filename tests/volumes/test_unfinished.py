"""Unfinished outputs: no other verb accepts them as complete volumes."""

import numpy as np
import pytest

import vol2vol
from vol2vol.cli import main
from vol2vol.describe import info
from vol2vol.errors import Unreadable
from vol2vol.geometry import Box
from vol2vol.recipes.baselines import fit_baseline
from vol2vol.volumes import create_volume, open_finished, open_volume
from vol2vol.volumes.marks import Marks


def begun(path, how, **message):
    created = create_volume(
        path, shape=(1, 8, 16, 16), dtype="u1", voxel_size=(8, 8, 8), unit="nm", attrs={how: message}
    )
    created.write(Box.of(created.spatial), np.full((1, 8, 16, 16), 7, np.uint8))
    created.close()
    return path


@pytest.fixture(params=[("vol2vol", "predict", "half é.zarr"), ("preparation", "prepare", "half.tif")])
def half(request, tmp_path):
    how, verb, name = request.param
    return begun(tmp_path / name, how, complete=False), verb


def commands(path, out):
    whole, model = begun(out / "whole.zarr", "preparation", complete=True), out / "model"
    fit_baseline("identity", whole, whole, model)
    return [
        ["prepare", path, out / "x.zarr", "--binarise"],
        ["evaluate", "seams", path, "--blind"],
        ["evaluate", "fidelity", path, whole],
        ["evaluate", "overlap", path, whole],
        ["evaluate", "distance", path, whole, whole],
        ["predict", model, path, out / "y.zarr"],
        ["train", "--recipe", "small-2d", "--source", path, "--target", whole, "--out", out / "run"],
    ]


def test_every_verb_refuses_it_and_names_the_one_that_began_it(half, tmp_path, capsys):
    path, verb = half
    for words in commands(path, tmp_path):
        assert main(list(map(str, words))) == 2, words
        message = capsys.readouterr().err
        assert f"{path} is not finished: run the same vol2vol {verb} again" in " ".join(message.split()), words
    assert not (tmp_path / "x.zarr").exists()
    assert not (tmp_path / "run").exists()


def test_info_describes_it_and_says_so(half):
    path, verb = half
    assert verb in info(path)["unfinished"]
    assert open_volume(path).shape == (1, 8, 16, 16)


def test_what_is_whole_or_was_made_by_others_is_taken(tmp_path):
    for n, message in enumerate(({"complete": True}, {}, {"complete": None})):
        assert open_finished(begun(tmp_path / f"{n}.zarr", "preparation", **message)).dtype == np.uint8


def test_the_same_command_mends_it(tmp_path, monkeypatch):
    em, out = begun(tmp_path / "em.zarr", "other"), tmp_path / "out.zarr"
    steps = {"steps": [{"step": "binarise"}], "chunks": [8, 8, 8]}

    def stop(self, block, checksum):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Marks, "mark", stop)
        with pytest.raises(KeyboardInterrupt):
            vol2vol.prepare(em, out, steps)
    with pytest.raises(Unreadable, match="not finished: run the same vol2vol prepare again"):
        vol2vol.prepare(out, tmp_path / "next.zarr", steps)
    vol2vol.prepare(em, out, steps)
    assert vol2vol.prepare(out, tmp_path / "next.zarr", steps)[0].voxels == 8 * 16 * 16
    assert "unfinished" not in info(out)
