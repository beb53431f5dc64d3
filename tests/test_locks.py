"""Two equal commands at once: the later one says so; and the same command afterwards is content with what is there."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tests.cli.test_verbs import reference_weights, run, tiff

from vol2vol.cli import main
from vol2vol.errors import AlreadyExists, Unreadable
from vol2vol.locks import writing
from vol2vol.models.bundle import load_bundle

HOLDER = """
import sys
from vol2vol.locks import writing
with writing(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
BUSY = "another process is writing {}: wait until it has finished, or choose another name"
SIZE = ("--voxel-size", "5,5,5")


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    tiff(folder / "a.tif", (6, 40, 40))
    tiff(folder / "b.tif", (6, 40, 40), seed=1)
    torch.save(reference_weights(), folder / "net.pth")
    assert main(["baseline", "histogram", "--source", f"{folder}/a.tif", "--target", f"{folder}/b.tif", *SIZE,
                 "--out", f"{folder}/model"]) == 0  # fmt: skip
    return folder


def commands(stacks, out):
    """Return every verb that writes an output, as words that name it."""
    pair = ["--source", str(stacks / "a.tif"), "--target", str(stacks / "b.tif"), *SIZE]
    return {
        "train": ["train", *pair, "data.patch=30", "--out", out],
        "predict": ["predict", str(stacks / "model"), str(stacks / "a.tif"), out, *SIZE],
        "prepare": ["prepare", str(stacks / "a.tif"), out, "--crop", "0:2,:,:", *SIZE],
        "baseline": ["baseline", "identity", *pair, "--out", out],
        "import": ["import", str(stacks / "net.pth"), out, "--dims", "2"],
        "adapt": ["adapt", str(stacks / "segmenter"), str(stacks / "a.tif"), out, *SIZE],
    }


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_while_another_process_writes_an_output_every_verb_says_so_and_goes_on_after_it(stacks, tmp_path, capsys):
    out = str(tmp_path / "out.zarr")
    with subprocess.Popen([sys.executable, "-c", HOLDER, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        for verb, words in commands(stacks, out).items():
            if verb == "adapt":
                continue
            capsys.readouterr()
            assert main(words) == 2, verb
            assert BUSY.format(out) in capsys.readouterr().err
        other.kill()  # the system releases the lock of a process that is killed
    assert not Path(out).exists()
    run(capsys, *commands(stacks, out)["predict"])
    assert sorted(os.listdir(tmp_path)) == ["out.zarr"]


def test_a_training_that_another_process_is_at_is_left_alone(tmp_path):
    from tests.training.tiny_run import train

    with writing(tmp_path / "run"), pytest.raises(AlreadyExists, match="another process is writing"):
        train(tmp_path / "run")


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_second_training_is_refused_before_it_reads_a_voxel(stacks, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vol2vol.recipes.training_data.open_domains", lambda *_: pytest.fail("volumes were opened"))
    with writing(tmp_path / "run"):
        assert main(commands(stacks, str(tmp_path / "run"))["train"]) == 2
    assert capsys.readouterr().err.splitlines() == [f"vol2vol: {BUSY.format(tmp_path / 'run')}"]
    assert not list(tmp_path.iterdir())


def test_a_lock_is_released_whatever_happens_and_leaves_no_file(tmp_path):
    with suppress(ValueError), writing(tmp_path / "a", tmp_path / "b"):
        assert len(list(tmp_path.iterdir())) == 2
        raise ValueError
    assert not list(tmp_path.iterdir())
    with writing(tmp_path / "a"), writing(tmp_path / "b"), pytest.raises(AlreadyExists):  # noqa: SIM117
        with writing(tmp_path / "b", tmp_path / "a"):
            pass
    with writing("s3://bucket/key.zarr", "s3://bucket/key.zarr"):
        pass


def test_where_no_lock_can_be_written_the_output_says_what_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    with writing(tmp_path / "file" / "out.zarr"):
        pass


@pytest.mark.parametrize("verb", ["baseline", "import"])
def test_the_same_command_is_content_with_what_it_made(verb, stacks, tmp_path, capsys, caplog, monkeypatch):
    """Also where it was killed after its last step, before it could say so."""
    out = tmp_path / "model"
    words = commands(stacks, str(out))[verb]
    said = run(capsys, *words)
    before = load_bundle(out).hash
    stamp = (out / "model.yaml").stat().st_mtime_ns
    monkeypatch.setattr("vol2vol.recipes.baselines._fitted", None)  # it computes nothing
    caplog.clear()
    caplog.set_level("INFO", "vol2vol")
    assert run(capsys, *words) == said
    assert "exists already, made by the same request: nothing to do" in caplog.text
    assert (out / "model.yaml").stat().st_mtime_ns == stamp
    other = {
        "baseline": [w.replace("b.tif", "a.tif") for w in words],
        "import": [w.replace("net.pth", "net2.pth") for w in words],
    }[verb]
    weights = reference_weights()
    weights["model.model.0.weight"] = weights["model.model.0.weight"] * 2
    torch.save(weights, stacks / "net2.pth")
    assert main(other) == 2
    assert f"{out} exists: choose another name or --overwrite" in capsys.readouterr().err
    assert load_bundle(out).hash == before


@pytest.mark.parametrize("spoil", ["weights.safetensors", "model.yaml"])
def test_a_damaged_model_is_never_content(spoil, stacks, tmp_path, capsys):
    out = tmp_path / "model"
    words = commands(stacks, str(out))["baseline"]
    run(capsys, *words)
    data = (out / spoil).read_bytes()
    (out / spoil).write_bytes(data[: len(data) // 2])
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err


def test_a_volume_that_has_changed_is_another_request(stacks, tmp_path, capsys):
    source = tiff(tmp_path / "a.tif", (6, 40, 40))
    words = ["baseline", "histogram", "--source", source, "--target", stacks / "b.tif", *SIZE, "--out", tmp_path / "m"]
    run(capsys, *words)
    run(capsys, *words)
    tiff(tmp_path / "a.tif", (6, 40, 40), seed=5)
    assert main([str(word) for word in words]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["weights.safetensors", "model.yaml", "net.pth", "last.ckpt", "weights.pth"])
def test_what_may_not_be_read_is_not_called_damaged(name, stacks, tmp_path, monkeypatch):
    """Permissions are asked for in one place, before any reader guesses."""
    from vol2vol.metrics.distances.inception_weights import load_inception
    from vol2vol.nets import load_reference
    from vol2vol.training.state import load_state

    shutil.copytree(stacks / "model", tmp_path / "model")
    for other in ("net.pth", "last.ckpt", "weights.pth"):
        shutil.copy(stacks / "net.pth", tmp_path / other)
    read = {"net.pth": lambda path: load_reference(path, 2), "last.ckpt": load_state, "weights.pth": load_inception}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != name and access(path, mode))
    with pytest.raises(Unreadable, match=f"{name}: no permission to read: change the permissions"):
        read[name](tmp_path / name) if name in read else load_bundle(tmp_path / "model")
