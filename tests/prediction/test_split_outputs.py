"""Several outputs of one translation: as channels of one volume, or each in a volume of its own; computed once."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from tests.prediction.conftest import network, write_volume

from vol2vol.cli import main
from vol2vol.errors import AlreadyExists, BadInput, Mismatch
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, predict, predict_files, translated
from vol2vol.prediction.array_task import work
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.verification import verify
from vol2vol.protocol import Translation
from vol2vol.volumes import open_volume

SHAPE = (20, 70, 90)
SMALL = {"tile": "30", "memory": "8GB"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that makes two domains of one and two channels, of other types and intensities."""
    folder = tmp_path_factory.mktemp("model") / "model"
    intensity = {"source": fixed(0, 255), "actin": fixed(0, 200), "nuclei": fixed([0, 100], [30_000, 60_000])}
    volumes = {
        "actin": [{"name": "a", "dtype": "uint8", "channels": ["phalloidin"]}],
        "nuclei": [{"name": "n", "dtype": "uint16", "channels": ["dapi", "h2b"]}],
    }
    net = network(3, out_channels=3)
    return save_bundle(
        folder,
        {"forward": Translation(network=net, reads=("source",), makes=("actin", "nuclei"))},
        intensity,
        channels={"source": 1, "actin": 1, "nuclei": 2},
        provenance={"patch": 30, "volumes": volumes},
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    array = np.random.default_rng(3).integers(0, 256, SHAPE, dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("source") / "in.zarr", array)


@pytest.fixture(scope="module")
def whole(model, source, tmp_path_factory):
    """The output that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out.zarr"
    predict(model, source, out, settings())
    return out


def settings(**changes):
    return PredictSettings(**{**SMALL, "split_outputs": True, **changes})


def read(path):
    with open_volume(path) as volume:
        return volume.read(Box.of(volume.spatial))


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("changes", [{"raw": True}, {"dtype": "uint16"}, {"dtype": "float32", "ome_version": "0.4"}])
def test_volumes_hold_the_channels_of_one_volume(changes, model, source, tmp_path):
    predict(model, source, tmp_path / "one.zarr", settings(split_outputs=False, **changes))
    predict(model, source, tmp_path / "two.zarr", settings(**changes))
    one = read(tmp_path / "one.zarr")
    np.testing.assert_array_equal(read(tmp_path / "two.zarr/actin"), one[:1])
    np.testing.assert_array_equal(read(tmp_path / "two.zarr/nuclei"), one[1:])
    assert len(open_volume(tmp_path / "two.zarr/actin").describe()["levels"]) > 1


@pytest.mark.parametrize(("name", "dtype", "channels"), [("actin", "uint8", 1), ("nuclei", "uint16", 2)])
def test_a_volume_is_what_its_domain_alone_would_be(name, dtype, channels, model, source, whole, tmp_path):
    predict(model, source, tmp_path / "alone.zarr", settings(split_outputs=False, outputs=(name,), dtype=dtype))
    with open_volume(whole / name) as part, open_volume(tmp_path / "alone.zarr") as alone:
        assert (part.dtype, part.channels) == (np.dtype(dtype), channels)
        assert part.channel_names == alone.channel_names == {"actin": ("phalloidin",), "nuclei": ("dapi", "h2b")}[name]
        assert part.attrs["vol2vol"] == alone.attrs["vol2vol"]
    one, two = tree(whole / name), tree(tmp_path / "alone.zarr")
    assert one.keys() == two.keys()
    assert all(one[key] == two[key] for key in one if str(key) != "zarr.json")
    shown = [json.loads(files[next(iter(k for k in files if str(k) == "zarr.json"))]) for files in (one, two)]
    assert shown[0]["attributes"]["ome"]["omero"] == shown[1]["attributes"]["ome"]["omero"]


def test_some_outputs_in_another_order(model, source, tmp_path):
    predict(model, source, tmp_path / "all.zarr", settings(split_outputs=False, dtype="source"))
    turned = settings(split_outputs=False, dtype="source", outputs=("nuclei", "actin"))
    predict(model, source, tmp_path / "turned.zarr", turned)
    every = read(tmp_path / "all.zarr")
    np.testing.assert_array_equal(read(tmp_path / "turned.zarr"), every[[1, 2, 0]])
    assert open_volume(tmp_path / "turned.zarr").channel_names == ("dapi", "h2b", "phalloidin")
    with pytest.raises(Mismatch, match="outputs"):
        predict(
            model, source, tmp_path / "turned.zarr", settings(split_outputs=False, dtype="source", outputs=("nuclei",))
        )


def test_the_network_runs_once_for_all(model, source, tmp_path, monkeypatch):
    seen, run = [], Engine.run
    monkeypatch.setattr(Engine, "run", lambda self, tile, *more: seen.append(tile.shape) or run(self, tile, *more))
    predict(model, source, tmp_path / "one.zarr", settings(split_outputs=False, dtype="source"))
    once, seen[:] = list(seen), []
    predict(model, source, tmp_path / "two.zarr", settings())
    assert once
    assert seen == once


RUN = """
import os, signal, sys, torch
torch.set_num_threads(1)
from vol2vol.prediction import PredictSettings, predict
from vol2vol.volumes.marks import Marks
mark, marks = Marks.mark, []
def marked(self, *block):
    mark(self, *block)
    marks.append(block)
    if len(marks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Marks.mark = marked
predict(sys.argv[1], sys.argv[2], sys.argv[3], PredictSettings(tile="30", memory="900MB", split_outputs=True))
"""


def test_killed_and_continued_by_two_workers_it_ends_in_the_same_bytes(model, source, whole, tmp_path):
    out = tmp_path / "out.zarr"
    words = [sys.executable, "-c", RUN, str(model), str(source), str(out)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    shutil.copytree(out, copy := tmp_path / "copy.zarr")
    done = predict(model, source, out, settings(workers=2))
    assert 0 < done.blocks_before < done.blocks
    assert tree(out) == tree(whole)
    assert predict(model, source, out, settings()).voxels == 0
    assert work(str(copy))[1]
    assert tree(copy) == tree(whole)


def test_a_creation_killed_before_its_plan_is_begun_again(model, source, whole, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("vol2vol.volumes.ledger.Ledger.begin", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(model, source, out, settings())
    predict(model, source, out, settings())
    assert tree(out) == tree(whole)


def test_lost_and_damaged_parts_are_found_and_computed_again(model, source, whole, tmp_path, capsys):
    shutil.copytree(whole, out := tmp_path / "out.zarr")
    checked = verify(out, model=model, input=source, sample=100)
    assert (checked.differing, checked.blocks, checked.voxels) == (0, checked.of, 3 * np.prod(SHAPE))
    assert checked.coarser >= 2
    [shard, *_] = sorted(path for path in (out / "nuclei/0/c").rglob("*") if path.is_file())
    content = shard.read_bytes()
    shard.unlink()
    assert any("of nuclei" in name for name in verify(out, model=model, input=source, sample=100).wrong)
    capsys.readouterr()
    assert main(["verify", str(out), "--all", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"].keys() == {"nuclei, level 0"}
    again = predict(model, source, out, settings())
    assert 0 < again.voxels < np.prod(SHAPE)
    assert shard.read_bytes() == content
    assert tree(out) == tree(whole)
    assert verify(out / "nuclei", model=model, input=source, sample=1).differing == 0


def test_the_group_names_its_images_and_is_replaced_only_where_all_is_ours(model, source, whole, tmp_path):
    shutil.copytree(whole, out := tmp_path / "out.zarr")
    with pytest.raises(BadInput, match=r"holds the images actin, nuclei: name one of them, such as .*out.zarr/actin"):
        open_volume(out)
    with pytest.raises(Mismatch, match="split_outputs"):
        predict(model, source, out, settings(split_outputs=False, dtype="source"))
    for strange in ("mine.txt", "nuclei/mine.txt", "mine/zarr.json"):
        (out / strange).parent.mkdir(exist_ok=True)
        (out / strange).write_text("{}")
        with pytest.raises(AlreadyExists, match=f"holds {strange}"):
            predict(model, source, out, settings(outputs=("actin",)), overwrite=True)
        (out / strange).unlink()
    (out / "mine").rmdir()
    predict(model, source, out, settings(outputs=("actin",)), overwrite=True)
    assert not (out / "nuclei").exists()
    np.testing.assert_array_equal(read(out / "actin"), read(whole / "actin"))


def test_an_unfinished_part_says_so(model, source, tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vol2vol.prediction.run.finish", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict(model, source, tmp_path / "out.zarr", settings())
    assert main(["info", str(tmp_path / "out.zarr/actin")]) == 0
    assert "vol2vol predict has not finished" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "out.zarr"), "--json"]) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert images == {"actin": f"{(1, *SHAPE)} uint8, not complete", "nuclei": f"{(2, *SHAPE)} uint16, not complete"}


def test_many_inputs_have_their_volumes_each(model, source, tmp_path):
    image = np.random.default_rng(4).integers(0, 256, (9, 30, 33), dtype=np.uint8)
    for name in "ab":
        write_volume(tmp_path / "in" / f"{name}.zarr", image)
    done = predict_files(
        model, [tmp_path / "in/a.zarr", tmp_path / "in/b.zarr"], tmp_path / "out", settings(tile="auto")
    )
    assert (done.predicted, done.failed) == (2, {})
    predict(model, tmp_path / "in/b.zarr", tmp_path / "alone" / "b.zarr", settings(tile="auto"))
    assert tree(tmp_path / "out/b.zarr") == tree(tmp_path / "alone/b.zarr")
    with pytest.raises(BadInput, match="does not make the domain lamin: it makes actin, nuclei"):
        predict_files(model, [source], tmp_path / "new", settings(outputs=("lamin",)))
    with pytest.raises(BadInput, match=r"in.tif: the volumes of several domains .* `suffix` .zarr"):
        predict_files(model, [source], tmp_path / "new", settings(), suffix=".tif")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "output", "said"),
    [
        (["--outputs", "lamin"], "out.zarr", "forward does not make the domain lamin: it makes actin, nuclei"),
        (["--outputs", "actin", "actin"], "out.zarr", "outputs actin, actin name a domain twice: name each once, of "),
        (["--split-outputs"], "out.tif", "out.tif: the volumes of several domains are written into one .zarr"),
        (["--split-outputs", "--dry-run"], "out.tif", "out.tif: the volumes of several domains are written into"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_begun(
    words, output, said, model, source, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(model), str(source), output, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vol2vol: {said}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_lazy_translation_has_the_voxels_of_one_domain(model, source, whole):
    lazy = translated(model, source, settings(split_outputs=False, outputs=("nuclei",), dtype="uint16"))
    assert (lazy.shape, lazy.channel_names) == ((2, *SHAPE), ("dapi", "h2b"))
    np.testing.assert_array_equal(np.asarray(lazy[:, 3:5]), read(whole / "nuclei")[:, 3:5])
    with pytest.raises(BadInput, match="leave out split_outputs"):
        translated(model, source, settings())
