"""A shard lost from a finished output is no block of zeros: readers refuse, `info` counts, the same command adds it."""

import json
import shutil

import numpy as np
import pytest
from tests.prediction.conftest import write_volume

from vol2vol.cli import main
from vol2vol.describe import info
from vol2vol.errors import Unreadable
from vol2vol.geometry import Box
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.verification import verify
from vol2vol.preparation import Preparation, prepare_volume
from vol2vol.volumes import open_finished, open_volume
from vol2vol.volumes.completeness import check_all

STEPS = Preparation.model_validate({"steps": [{"step": "crop", "box": "0:150,:,:"}], "chunks": [16, 16, 16]})


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def chunks(folder, level=0):
    names = ("zarr.json", ".zarray", ".zattrs")
    return sorted(p for p in (folder / str(level)).rglob("*") if p.is_file() and p.name not in names)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    array = np.random.default_rng(3).integers(0, 256, (200, 36, 40), dtype=np.uint8)
    array[:64] = 0
    return write_volume(tmp_path_factory.mktemp("long") / "in.zarr", array, chunks=(32, 32, 32))


@pytest.fixture(scope="module")
def outputs(models, long, tmp_path_factory):
    """Finished outputs of both versions, and a prepared volume."""
    folder = tmp_path_factory.mktemp("outputs")
    for version in ("0.5", "0.4"):
        predict(models[3], long, folder / version / "out.zarr", PredictSettings(ome_version=version))
    prepare_volume(long, folder / "prepared" / "out.zarr", STEPS)
    return folder


@pytest.fixture(params=["0.5", "0.4", "prepared"])
def output(request, outputs, models, long, tmp_path):
    """A copy of each, and what writes it again."""
    out = tmp_path / "out.zarr"
    shutil.copytree(outputs / request.param / "out.zarr", out)

    def again():
        if request.param == "prepared":
            return prepare_volume(long, out, STEPS)[0]
        return predict(models[3], long, out, PredictSettings(ome_version=request.param))

    return out, again, tree(out)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("which", [0, -1])
def test_a_lost_shard_is_refused_counted_and_added(level, which, output, tmp_path):
    out, again, whole = output
    assert again().voxels == 0
    assert open_finished(out).missing() == []
    assert "missing shards" not in info(out)
    lost = chunks(out, level)[which]
    lost.unlink()
    assert info(out)["missing shards"] == {f"level {level}": 1}
    assert [len(checked.missing) for checked in check_all(str(out))][: level + 1] == [0] * level + [1]
    if level == 0:
        volume = open_volume(out)
        with pytest.raises(Unreadable, match=r"lacks .*: copy it again, or repeat the command that wrote it"):
            volume.read(Box.of(volume.spatial))
        with pytest.raises(Unreadable, match=r"lacks .*: copy it again"):
            open_finished(out)
        with pytest.raises(Unreadable, match=r"lacks .*: copy it again"):
            prepare_volume(out, tmp_path / "next.zarr", STEPS)
        assert not (tmp_path / "next.zarr").exists()
    made = again()
    assert tree(out) == whole
    assert made.blocks_before == made.blocks - (level == 0)
    assert "missing shards" not in info(out)
    assert again().voxels == 0


def test_what_was_not_lost_can_be_read(output):
    out, _, _ = output
    last = open_volume(out).spatial[0] - 1
    chunks(out)[0].unlink()
    open_volume(out).read(Box((last, 20, 20), (last + 1, 36, 40)))
    with pytest.raises(Unreadable, match="lacks"):
        open_volume(out).read(Box((0, 0, 0), (1, 1, 1)))


def test_a_whole_level_that_is_gone_comes_back(output):
    out, again, whole = output
    shutil.rmtree(out / "1")
    assert info(out)["missing shards"] == {"level 1": 1}
    again()
    assert tree(out) == whole


def test_killed_while_it_adds_what_was_lost(output, monkeypatch):
    out, again, whole = output
    for path in chunks(out)[::2]:
        path.unlink()

    def dies(*_):
        raise KeyboardInterrupt

    for where in ("vol2vol.volumes.ledger.Ledger.begin", "vol2vol.volumes.volume.Volume.write"):
        with monkeypatch.context() as patch:
            patch.setattr(where, dies)
            with pytest.raises(KeyboardInterrupt):
                again()
        with pytest.raises(Unreadable, match="lacks"):
            open_finished(out)
    again()
    assert tree(out) == whole


def test_all_of_an_output_is_checked_without_computing(outputs, long, models, tmp_path, capsys):
    out = tmp_path / "out.zarr"
    shutil.copytree(outputs / "0.5" / "out.zarr", out)
    whole = tree(out)
    assert main(["verify", str(out), "--all"]) == 0
    capsys.readouterr()
    damaged, cut, lost = chunks(out)[1], chunks(out, 1)[0], chunks(out)[2]
    text = bytearray(damaged.read_bytes())
    text[len(text) // 3] ^= 1
    damaged.write_bytes(text)
    cut.write_bytes(cut.read_bytes()[:-20])
    lost.unlink()
    assert main(["verify", str(out), "--all", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["shards"] == len(chunks(out)) + 1 + sum(
        len(chunks(out, n)) for n in range(1, len(list(out.glob("[0-9]"))))
    )
    assert said["missing"] == {"level 0": [str(lost.relative_to(out / "0"))]}
    assert [list(said["damaged"][f"level {n}"]) for n in (0, 1)] == [
        [str(damaged.relative_to(out / "0"))],
        [str(cut.relative_to(out / "1"))],
    ]
    for path in (damaged, cut):
        path.unlink()
    predict(models[3], long, out)
    assert tree(out) == whole
    assert main(["verify", str(long), "--all"]) == 2
    assert "not an OME-Zarr that vol2vol wrote" in capsys.readouterr().err


def test_verify_averages_coarser_levels_again(outputs, models, long, tmp_path):
    out = tmp_path / "out.zarr"
    shutil.copytree(outputs / "0.5" / "out.zarr", out)
    sound = verify(out, model=models[3], input=long)
    assert sound.coarser >= 2
    assert sound.wrong == {}
    files = chunks(out, 1)
    files[0].write_bytes(files[1].read_bytes())
    found = verify(out, model=models[3], input=long, sample=100)
    assert set(found.wrong) == {"1-0.0.0", "2-0.0.0"}  # and of what was made of it nobody knows any more
    assert "not the mean of the level above" in found.wrong["1-0.0.0"]
