"""Tests of damaged models and runs, damaged input, full disks and read-only folders: one line, and nothing is lost."""

import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from tests.cli.world import SIZE, state, tissue, train, write

from vol2vol.cli import main
from vol2vol.geometry import Box
from vol2vol.prediction.records import read_plan
from vol2vol.volumes import open_volume
from vol2vol.volumes.ledger import Ledger


def test_a_type_that_cannot_be_written_leaves_nothing_in_the_way(world, monkeypatch):
    monkeypatch.chdir(world)
    assert main(["predict", "model2", "widest.zarr", "narrow.zarr"]) == 2
    assert not (world / "narrow.zarr").exists()
    assert main(["predict", "model2", "widest.zarr", "narrow.zarr", "--dtype", "uint16"]) == 0
    shutil.rmtree(world / "narrow.zarr")


def test_a_size_said_senselessly_may_be_given(world, monkeypatch):
    monkeypatch.chdir(world)
    assert main(["predict", "model2", "negative.zarr", "sized.zarr", *SIZE]) == 0
    assert open_volume(world / "sized.zarr").voxel_size == (8, 8, 8)
    shutil.rmtree(world / "sized.zarr")


@pytest.mark.parametrize("patch", [4, 62])
def test_the_patch_that_is_advised_trains(patch, world, capsys):
    small = ("task.loss_region=certain", "task.ssim_cycle=0", "task.ssim_forward=0")
    assert main(train(world, world / "advised", *small, f"data.patch={patch}")) == 2
    advised = int(re.findall(r"\d+", capsys.readouterr().err)[-1])
    assert main(train(world, world / "advised", *small, f"data.patch={advised}")) == 0
    shutil.rmtree(world / "advised")


def test_the_trap_would_have_sprung(world):
    """A file that `import` refuses is harmful: unpickling it runs the command that it contains."""
    for name in ("trap.pth", "trap zip.pth"):
        torch.load(world / name, weights_only=False) if "zip" in name else pickle.loads((world / name).read_bytes())
        assert (world / "sprung").is_dir()
        (world / "sprung").rmdir()


VERBS = {
    "unknown verb": (["pridict"], ["no verb 'pridict'", "predict"]),
    "flag for a verb": (["--frobnicate"], ["--frobnicate"]),
    "missing words": (["predict", "model2"], ["INPUT", "OUTPUT"]),
    "word too many": (["info", "em.zarr", "and"], ["and"]),
    "unknown recipe": (["recipes", "smal-2d"], ["did you mean small-2d"]),
    "demo in a foreign folder": (["demo", "--out", "words"], ["words exists and is not a study"]),
    "demo in a file": (["demo", "--out", "notes.txt"], ["notes.txt exists and is not a study"]),
    "info on no name": (["info", ""], ["path is empty"]),
    "tolerance below nothing": (["verify", "done.zarr", "--tolerance", "-1"], ["tolerance -1", "--tolerance 0"]),
    "tolerance that is no number": (["verify", "done.zarr", "--tolerance", "nan"], ["tolerance nan"]),
    "adapt on no patches": (["adapt", "model2", "em.zarr", "new", "--patches", "0"], ["--patches to 1"]),
    "adapt on NaN": (["adapt", "model2", "nan.zarr", "new"], ["nan.zarr holds NaN", "voxel (4, 30, 20)", "replace"]),
    "adapt to a constant": (
        ["adapt", "run", "constant.zarr", "new", "--intensity"],
        ["constant.zarr", "7 everywhere: leave the file out"],
    ),
    "info on nothing": (["info", "nowhere"], ["nowhere does not exist"]),
    "info on a damaged model": (["info", "model short"], ["weights.safetensors is damaged"]),
}


@pytest.mark.parametrize("case", VERBS)
def test_verbs_refuse(case, refuse):
    words, expected = VERBS[case]
    refuse(words, *expected)


DAMAGES = {
    "no channels": ("    channels: 1\n", "    channels: {}\n", "channels"),
    "absurd width": ("width: 4", "width: 1000000000000", "width is 1000000000000"),
    "other width": ("width: 4", "width: 6", "different models"),
    "no footprint": ("    footprint:", "    footprints:", "footprint: field required"),
    "blown up": (
        "schema: 2\n",
        "schema: 2\na: &a [x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]\n" for o, n in zip("abcdefgh", "bcdefghi", strict=True)),
        "aliases",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_info_and_predict_refuse_the_same_damaged_models(case, refuse, world):
    was, now, words = DAMAGES[case]
    shutil.copytree(world / "model2", world / "model damaged")
    file = world / "model damaged" / "model.yaml"
    assert was in file.read_text()
    file.write_text(file.read_text().replace(was, now))
    try:
        refuse(["info", "model damaged"], "model damaged", words)
        refuse(["predict", "model damaged", "em.zarr", "out.zarr"], "model damaged", words)
    finally:
        shutil.rmtree(world / "model damaged")


def test_a_study_that_aliases_blow_up(refuse, world):
    (world / "bomb.yaml").write_text(DAMAGES["blown up"][1])
    refuse(["study", "bomb.yaml", "--out", "studied"], "bomb.yaml is not YAML", "aliases")


def test_a_long_wrong_value_is_cut(refuse, world):
    (world / "long.yaml").write_text(f"extends: small-2d\ntrain: {{epochs: {'x' * 5000}}}\n")
    refuse(
        ["train", "--recipe", "long.yaml", "--source", "em.zarr", "--target", "em.zarr", "--out", "new"],
        "got 'xxx",
        "x...)",
    )


def test_a_damaged_run(refuse, world):
    shutil.copytree(world / "run", world / "damaged")
    (world / "damaged" / "recipe.yaml").write_text("{")
    refuse(["info", "damaged"], "recipe.yaml is not YAML", "restore")
    refuse(train(world, world / "damaged"), "recipe.yaml is not YAML")
    shutil.rmtree(world / "damaged")
    shutil.copytree(world / "run", world / "damaged")
    state = world / "damaged" / "checkpoints" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:-500])
    refuse(train(world, world / "damaged", "train.epochs=2"), "last.ckpt", unchanged=False)
    shutil.rmtree(world / "damaged")


def test_nan_in_the_middle_of_a_prediction(refuse, world):
    shutil.copytree(world / "nan.zarr", world / "hole.zarr")
    words = ["predict", "model2", "hole.zarr", "late.zarr"]
    refuse(words, "hole.zarr holds NaN or infinity at voxel (4, 30, 20)", "replace", "--overwrite", unchanged=False)
    assert (world / "late.zarr" / ".vol2vol" / "plan.json").is_file()
    shutil.rmtree(world / "hole.zarr")
    shutil.copytree(world / "float.zarr", world / "hole.zarr")
    refuse(words, "late.zarr was begun with another input (or it has changed)", "--overwrite")
    assert main([*words, "--overwrite"]) == 0
    assert main(["predict", "model2", "float.zarr", "whole.zarr"]) == 0
    outputs = [open_volume(world / name) for name in ("late.zarr", "whole.zarr")]
    np.testing.assert_array_equal(*(volume.read(Box.of(volume.spatial)) for volume in outputs))
    for name in ("late.zarr", "whole.zarr", "hole.zarr"):
        shutil.rmtree(world / name)


def test_a_chunk_that_rots_keeps_the_blocks_before_it(refuse, world, monkeypatch):
    """A repaired input is another input than that of the prediction: an error says so, and written blocks stay."""
    write(world / "long.zarr", tissue((40, 40, 44)), chunks=(8, 40, 44))
    chunk = world / "long.zarr" / "0" / "c" / "3" / "0" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(zlib.compress(b"rot"))
    monkeypatch.setattr("vol2vol.prediction.run.check_fit", lambda job: None)  # its sample finds it first
    words = ["predict", "model2", "long.zarr", "late.zarr"]
    refuse(words, "long.zarr", "cannot be read", "restore", unchanged=False)
    begun = read_plan(str(world / "late.zarr"))["begun"]
    assert len(Ledger.of(str(world / "late.zarr")).marks(begun).done) >= 1
    refuse(words, "long.zarr", "cannot be read", "restore", unchanged=False)
    chunk.write_bytes(good)
    refuse(words, "late.zarr was begun with another input (or it has changed)", "--overwrite")
    assert main([*words, "--overwrite"]) == 0
    for name in ("late.zarr", "long.zarr"):
        shutil.rmtree(world / name)


def test_a_complete_output_refuses_another_model(refuse, world):
    assert main(["predict", "model2", "em.zarr", "done.zarr"]) == 0
    refuse(["predict", "run", "em.zarr", "done.zarr"], "another model", "--overwrite")
    refuse(["predict", "model2", "target.zarr", "done.zarr"], "another input", "--overwrite")
    refuse(["predict", "model2", "em.zarr", "done.zarr", "--strategy", "disjoint"], "strategy", "--overwrite")
    assert main(["predict", "model2", "em.zarr", "done.zarr"]) == 0
    (world / "done.zarr" / "mine.txt").write_text("mine")
    refuse(["predict", "model3", "em.zarr", "done.zarr", "--overwrite"], "mine.txt")
    shutil.rmtree(world / "done.zarr")


def test_a_model_is_only_overwritten_when_told(refuse, world):
    refuse(["import", "half.pth", "model2", "--dims", "2"], unchanged=True)
    refuse(["import", "half.pth", "words", "--dims", "2", "--overwrite"], unchanged=True)


LIMIT = """
import resource, sys
from vol2vol.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
for words in sys.argv[2].split("\\n"):
    print(main(words.split("|")), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_files_that_may_not_grow(world, monkeypatch):
    """With a limit on file size, writes fail in the operating system, as on a full disk."""
    commands = [
        "predict|model2|em.zarr|full.zarr",
        "predict|model2|em.zarr|full.tif",
        "|".join(train(world, world / "full run")),
        f"import|{_importable(world)}|full model|--dims|2",
    ]
    words = [sys.executable, "-c", LIMIT, "3000", "\n".join(commands)]
    before = {name: digest for name, digest in state(world).items() if not name.startswith("full")}
    done = subprocess.run(words, capture_output=True, text=True, cwd=world, check=False)
    lines = [line for line in done.stderr.splitlines() if "cannot be" in line or "space" in line]
    assert done.stdout.split() == ["2"] * 4, done.stderr
    assert "Traceback" not in done.stderr
    assert [any(name in line for name in ("full.zarr", "full.tif", "full run", "full model")) for line in lines] == [
        True
    ] * 4, done.stderr
    after = state(world)
    assert {name: digest for name, digest in after.items() if not name.startswith("full")} == before
    assert "full model" not in after
    for path in world.glob("full*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _importable(folder):
    from tests.cli.test_verbs import reference_weights

    torch.save(reference_weights(), folder / "good.pth")
    return "good.pth"


def test_a_full_disk_below_python(refuse, world, monkeypatch):
    """With ENOSPC at the lowest level of Python, existing files stay as they were."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    refuse(train(world, world / "new"), "recipe.yaml cannot be written", unchanged=False)
    shutil.rmtree(world / "new", ignore_errors=True)
    _importable(world)
    refuse(["import", "good.pth", "new", "--dims", "2"], "new cannot be written", "free space")
    monkeypatch.undo()
    monkeypatch.chdir(world)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    refuse(["predict", "model2", "em.zarr", "out.tif"], "out.tif", "No space left")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(refuse, world):
    locked = world / "locked"
    locked.mkdir(mode=0o555)
    try:
        refuse(["predict", "model2", "em.zarr", "locked/out.zarr"], "locked/out.zarr", "permission")
        refuse(["predict", "model2", "em.zarr", "locked/out.tif"], "locked/out.tif")
        refuse(train(world, locked / "run"), "locked/run")
        (world / "em.mrc").chmod(0)
        refuse(["predict", "model2", "em.mrc", "out.zarr"], "em.mrc", "permission")
    finally:
        (world / "em.mrc").chmod(0o644)
        locked.rmdir()


def test_permission_is_missing(refuse, world, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", forbidden)
        refuse(["predict", "model2", "em.zarr", "new/out.tif"], "new/out.tif cannot be written (Permission denied)")
        refuse(train(world, "new"), "new", "Permission denied", "choose another")
        refuse(["demo", "--out", "new"], "new", "Permission denied")
    with monkeypatch.context() as patch:
        patch.setattr(tifffile, "TiffFile", forbidden)
        refuse(["info", "nosize.tif", *SIZE], "nosize.tif: no permission to read")
    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", forbidden)
        refuse(["info", "data.h5:/em", *SIZE], "data.h5")


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs a file system that refuses even root")
def test_a_file_system_that_refuses(refuse, world):
    refuse(["predict", "model2", "em.zarr", "/sys/vol2vol/out.zarr"], "/sys/vol2vol/out.zarr")
    refuse(["predict", "model2", "em.zarr", "/sys/vol2vol/out.tif"], "/sys/vol2vol/out.tif")
    refuse(train(world, "/sys/vol2vol/run"), "/sys/vol2vol/run")


def test_debugging_shows_where(world, capsys, monkeypatch):
    monkeypatch.setenv("VOL2VOL_DEBUG", "1")
    assert main(["info", str(world / "nowhere")]) == 2
    assert "Traceback" in capsys.readouterr().err
