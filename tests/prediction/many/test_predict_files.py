"""Many files with one call: the same bytes as one by one, names kept, failures at the end, done files left alone."""

import json
import logging
import os
import shutil
import signal
import sys

import numpy as np
import pytest
import tifffile
import torch
import zarr
from ome_zarr_models import open_ome_zarr
from PIL import Image
from tests.prediction.conftest import network, write_volume
from tests.prediction.killing import Killing

from vol2vol import PredictSettings, predict, predict_files
from vol2vol.cli import main
from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import dry_run_files
from vol2vol.prediction import run as verb
from vol2vol.prediction.many import predict_files as many
from vol2vol.protocol import between
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
SHAPES = {"a": (41, 37), "b": (41, 37), "c10": (5, 33, 29), "c9": (1, 64), "d": (64, 53)}


def pixels(name, shape, dtype=np.uint8):
    return np.random.default_rng(sum(map(ord, name))).integers(0, 256, shape, dtype)


def tiffs(folder, shapes=SHAPES, dtype=np.uint8):
    """Write a TIFF for each name."""
    folder.mkdir()
    for name, shape in shapes.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels(name, shape, dtype), photometric="minisblack")
    return folder


def contents(folder):
    """Return every file of the outputs with its bytes, of OME-Zarr those inside."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".vol2vol" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def stamps(folder):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("suffix", ["auto", ".zarr"])
@pytest.mark.parametrize("dims", [2, 3])
def test_many_files_have_the_bytes_of_predictions_one_by_one(models, dims, suffix, tmp_path):
    shapes = SHAPES if dims == 2 else {"a": (11, 20, 17), "b": (7, 41, 37)}
    source, out, single = tiffs(tmp_path / "in", shapes), tmp_path / "out", tmp_path / "single"
    settings = PredictSettings(strategy="exact", tile="30" if dims == 2 else "auto")
    made = predict_files(models[dims], f"{source}/*.tif", out, settings, suffix=suffix)
    assert (made.files, made.files_before, made.predicted, made.failed) == (len(shapes), 0, len(shapes), {})
    assert made.voxels == sum(int(np.prod(shape)) for shape in shapes.values())
    end = ".tif" if suffix == "auto" else suffix
    single.mkdir()
    for name in shapes:
        predict(models[dims], source / f"{name}.tif", single / f"{name}{end}", settings)
    assert contents(out) == contents(single)
    assert contents(out)


def test_a_large_file_among_small_ones_goes_block_by_block(models, tmp_path, monkeypatch):
    source = tiffs(tmp_path / "in", {"small": (30, 31), "large": (40, 50, 45)})
    whole = []
    predict_whole = many.carry_out.__globals__["predict_whole"]
    monkeypatch.setitem(
        many.carry_out.__globals__, "predict_whole", lambda *a, **k: whole.append(a) or predict_whole(*a, **k)
    )
    made = predict_files(models[2], source / "*.tif", tmp_path / "out")
    assert made.predicted == 2
    assert len(whole) == 1
    predict(models[2], source / "large.tif", tmp_path / "large.tif")
    assert (tmp_path / "large.tif").read_bytes() == (tmp_path / "out" / "large.tif").read_bytes()


def test_done_files_are_neither_computed_again_nor_touched(models, tmp_path, monkeypatch):
    source, out = tiffs(tmp_path / "in"), tmp_path / "out"
    predict_files(models[2], source / "*.tif", out)
    before = stamps(out)
    tifffile.imwrite(source / "new.tif", pixels("new", (20, 20)))
    opened, outcome = [], many.FileWork.outcome
    monkeypatch.setattr(many.FileWork, "outcome", lambda *a: opened.append(a[1].input) or outcome(*a))
    made = predict_files(models[2], source / "*.tif", out)
    assert (made.files_before, made.predicted) == (5, 1)
    assert [os.path.basename(path) for path in opened] == ["new.tif"]
    after = stamps(out)
    assert all(after[name] == stamp for name, stamp in before.items() if name != ".vol2vol")
    shutil.rmtree(out / ".vol2vol")  # it saves time and decides nothing
    made = predict_files(models[2], source / "*.tif", out)
    assert (made.files_before, made.predicted) == (6, 0)
    assert len(opened) == 7
    assert stamps(out) == {**after, ".vol2vol": stamps(out)[".vol2vol"]}


def test_a_changed_input_is_refused_by_name_and_overwritten_alone(models, tmp_path):
    source, out = tiffs(tmp_path / "in"), tmp_path / "out"
    predict_files(models[2], source, out)
    before = stamps(out)
    tifffile.imwrite(source / "b.tif", pixels("other", (41, 37)), photometric="minisblack")
    made = predict_files(models[2], source, out)
    assert list(made.failed) == [str(source / "b.tif")]
    assert "another input (or it has changed)" in made.failed[str(source / "b.tif")]
    assert (made.files_before, made.predicted) == (4, 0)
    made = predict_files(models[2], source, out, overwrite=True)
    assert (made.files_before, made.predicted, made.failed) == (4, 1, {})
    changed = [name for name, stamp in stamps(out).items() if before[name] != stamp and name != ".vol2vol"]
    assert changed == ["b.tif"]
    predict(models[2], source / "b.tif", tmp_path / "b.tif")
    assert (tmp_path / "b.tif").read_bytes() == (out / "b.tif").read_bytes()
    made = predict_files(models[2], source, out, PredictSettings(raw=True))
    assert len(made.failed) == 5
    assert all("settings" in reason or "raw" in reason for reason in made.failed.values())


def test_what_cannot_be_predicted_is_named_and_stops_nothing(models, tmp_path, capsys):
    source, out = tiffs(tmp_path / "in", {f"i{n}": (30, 31) for n in range(7)}), tmp_path / "out"
    (source / "i3.tif").write_bytes((source / "i3.tif").read_bytes()[:300])
    tifffile.imwrite(source / "rgb.tif", pixels("rgb", (30, 31, 3)), photometric="rgb")
    nan = np.full((30, 31), 40, np.float32)
    nan[2, 3] = np.nan
    tifffile.imwrite(source / "nan.tif", nan)
    (source / "text.tif").write_text("no image")
    words = ["predict", str(models[2]), str(source / "*"), f"{out}/", "--json"]
    assert main(words) == 1
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["files"] == 10
    assert result["files predicted"] == 6
    reasons = {os.path.basename(path): reason for path, reason in result["failed"].items()}
    assert set(reasons) == {"i3.tif", "nan.tif", "rgb.tif", "text.tif"}
    assert "NaN or infinity at voxel (0, 2, 3)" in reasons["nan.tif"]
    assert "3 channels" in reasons["rgb.tif"]
    assert not any("\n" in reason for reason in reasons.values())
    assert said.err.splitlines()[-1] == "vol2vol: 4 of 10 files could not be predicted"
    assert {path.name for path in out.iterdir()} == {".vol2vol", *(f"i{n}.tif" for n in (0, 1, 2, 4, 5, 6))}
    assert not (out / ".vol2vol" / "aside").exists()
    tifffile.imwrite(source / "nan.tif", np.nan_to_num(nan))
    assert main(words) == 1
    assert set(json.loads(capsys.readouterr().out)["failed"]) == {
        str(source / f"{n}.tif") for n in ("i3", "rgb", "text")
    }


def test_names_that_clash_and_outputs_that_are_inputs_are_refused_beforehand(models, tmp_path):
    source = tiffs(tmp_path / "in")
    (tmp_path / "other").mkdir()
    Image.fromarray(pixels("a", (20, 21))).save(source / "a.png")
    shutil.copy(source / "a.tif", tmp_path / "other" / "a.tif")
    for inputs in (f"{source}/*", [source / "a.tif", tmp_path / "other" / "a.tif"]):
        with pytest.raises(BadInput, match=r"a.(tif|png) and .*a.(tif|png) would both be written to .*out.a.tif"):
            predict_files(models[2], inputs, tmp_path / "out")
    with pytest.raises(AlreadyExists, match=r"a\.tif is the input"):
        predict_files(models[2], source / "*.tif", source)
    with pytest.raises(BadInput, match="is the name of one volume, and there are 5 inputs"):
        predict_files(models[2], source / "*.tif", tmp_path / "out.zarr")
    with pytest.raises(BadInput, match="executor slurm"):
        predict_files(models[2], source / "*.tif", tmp_path / "out", PredictSettings(executor="slurm"))
    assert not (tmp_path / "out").exists()
    made = predict_files(models[2], [source / "a.tif", source / "*.tif"], tmp_path / "out")
    assert made.files == 5


@pytest.mark.parametrize(
    ("name", "suffix", "expected"),
    [
        ("a.tif", "auto", "a.tif"),
        ("A.TIFF", "auto", "A.TIFF"),
        ("a.ome.tif", ".zarr", "a.ome.zarr"),
        ("photo.jpeg", "auto", "photo.tif"),
        ("em.zarr", "auto", "em.zarr"),
        ("em.zarr", ".tif", "em.tif"),
        ("scan.v2", "auto", "scan.v2.zarr"),
        ("scan.v2", ".tif", "scan.v2.tif"),
        ("data.h5:/em", "auto", "em.zarr"),
    ],
)
def test_names_are_kept(name, suffix, expected, tmp_path):
    [file] = many.pair_files(tmp_path / name, str(tmp_path / "out"), suffix, None)
    assert file.output == str(tmp_path / "out" / expected)


def test_pictures_colours_and_other_formats(tmp_path):
    both = ("source", "target")
    save_bundle(
        tmp_path / "rgb",
        between({"forward": network(2, in_channels=3, out_channels=3)}),
        dict.fromkeys(both, fixed(0, 255)),
        channels=dict.fromkeys(both, 3),
    )
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("cat.png", "dog.jpg"):
        Image.fromarray(pixels(name, (31, 47, 3))).save(source / name)
    write_volume(source / "em.zarr", pixels("em", (3, 4, 25, 26)))
    made = predict_files(tmp_path / "rgb", source / "*", out)
    assert made.failed == {}
    assert {path.name for path in out.iterdir()} == {".vol2vol", "cat.tif", "dog.tif", "em.zarr"}
    with tifffile.TiffFile(out / "cat.tif") as file:
        assert (file.pages.first.photometric.name, file.pages.first.shape) == ("RGB", (31, 47, 3))
    assert open_volume(out / "em.zarr").shape == (3, 4, 25, 26)
    assert predict_files(tmp_path / "rgb", source / "*", out).files_before == 3


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(("channels", "axes"), [(1, "yx"), (3, "cyx")])
def test_images_stay_images_in_ome_zarr(channels, axes, version, tmp_path):
    both = dict.fromkeys(("source", "target"), fixed(0, 255))
    net = between({"forward": network(2, in_channels=channels, out_channels=channels)})
    model = save_bundle(tmp_path / "model", net, both, channels=dict.fromkeys(both, channels))
    values = pixels("image", (channels, 301, 97))
    Image.fromarray(values[0] if channels == 1 else np.moveaxis(values, 0, 2)).save(tmp_path / "image.png")
    shape = {"shape": (channels, 1, 301, 97), "voxel_size": (5, 2, 2), "unit": "um", "offset": (1, 3, 7)}
    with create_volume(tmp_path / "sized.zarr", dtype="u1", flat=True, **shape) as volume:
        volume.write(Box.of(volume.spatial), values[:, None])
    settings = PredictSettings(ome_version=version)
    predict_files(model, [tmp_path / "image.png", tmp_path / "sized.zarr"], tmp_path / "out", settings, suffix=".zarr")
    predict(model, tmp_path / "image.png", tmp_path / "image.tif")
    for name in ("image", "sized"):
        group = zarr.open_group(tmp_path / "out" / f"{name}.zarr", mode="r")
        assert group["0"].shape == (3, 301, 97)[3 - len(axes) :]
        assert len(list(group.arrays())) > 1
        image = open_ome_zarr(group).attributes
        [multiscale] = getattr(image, "ome", image).multiscales
        assert "".join(axis.name for axis in multiscale.axes) == axes
        for level in range(len(multiscale.datasets)):
            made = open_volume(tmp_path / "out" / f"{name}.zarr", level=level)
            assert (made.is_2d, made.channels, made.axes) == (True, channels, axes)
        with open_volume(tmp_path / "image.tif") as tif, open_volume(tmp_path / "out" / f"{name}.zarr") as made:
            np.testing.assert_array_equal(made.read(Box.of(made.spatial)), tif.read(Box.of(tif.spatial)))
    assert (made.voxel_size[1:], made.unit, made.offset[1:]) == ((2.0, 2.0), "micrometer", (3.0, 7.0))


def test_a_warning_is_shown_once_with_the_number_of_files(models, tmp_path, caplog):
    source = tmp_path / "in"
    source.mkdir()
    for name in "abcdef":
        tifffile.imwrite(source / f"{name}.tif", np.random.default_rng(0).integers(0, 400, (40, 40), np.uint16))
    with caplog.at_level(logging.WARNING):
        made = predict_files(models[2], source, tmp_path / "out")
    assert made.predicted == 6
    texts = [record.getMessage() for record in caplog.records]
    assert all("a.tif does not have the intensities" in text for text in texts), texts
    assert [text.rpartition("; ")[2] for text in texts][1:] == ["the same holds for 5 more files"]


def test_workers_share_the_files_and_make_the_same_bytes(models, tmp_path):
    source = tiffs(tmp_path / "in", {f"i{n}": (30, 31 + n) for n in range(6)})
    (source / "i3.tif").write_bytes(b"II*\0")
    predict_files(models[2], source / "*.tif", tmp_path / "alone")
    made = predict_files(models[2], source / "*.tif", tmp_path / "out", PredictSettings(workers=2))
    assert (made.predicted, list(made.failed)) == (5, [str(source / "i3.tif")])
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_dry_run_sums_up_and_writes_nothing(models, tmp_path):
    source = tiffs(tmp_path / "in")
    (source / "broken.tif").write_bytes(b"II*\0")
    predict_files(models[2], source / "a.tif", tmp_path / "done")
    said = dry_run_files(models[2], source / "*.tif", tmp_path / "out")
    assert (said["files"], said["files to predict"], list(said["failed"])) == (6, 5, [str(source / "broken.tif")])
    assert said["voxels"] == sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert said["operations"] > 0
    assert not (tmp_path / "out").exists()
    before = stamps(tmp_path / "done")
    said = dry_run_files(models[2], source / "*.tif", tmp_path / "done")
    assert (said["files done before"], said["files to predict"]) == (1, 4)
    assert stamps(tmp_path / "done") == before


def test_the_first_output_is_there_before_the_second_input_is_opened(models, tmp_path, monkeypatch):
    source, out = tiffs(tmp_path / "in", {f"i{n}": (30, 31) for n in range(4)}), tmp_path / "out"
    seen, opened = [], []
    find = verb.find

    def look(request, output, **how):
        opened.append(request.input)
        seen.append(len(list(out.glob("*.tif"))))
        return find(request, output, **how)

    monkeypatch.setattr(verb, "find", look)
    predict_files(models[2], source / "*.tif", out)
    assert seen == [0, 1, 2, 3]
    assert [os.path.basename(path) for path in opened] == ["i0.tif", "i1.tif", "i2.tif", "i3.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_stops_and_the_same_command_continues(models, name, code, tmp_path, monkeypatch, capsys):
    source, out = tiffs(tmp_path / "in"), tmp_path / "out"
    words, outcome, count = ["predict", str(models[2]), str(source / "*.tif"), f"{out}/"], many.FileWork.outcome, []

    def stopped(*arguments):
        count.append(1)
        if len(count) == 3:
            signal.raise_signal(getattr(signal, name))
        return outcome(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(many.FileWork, "outcome", stopped)
        assert main(words) == code
    assert capsys.readouterr().err.splitlines()[-1] == "vol2vol: stopped; the same command continues from here"
    before = stamps(out)
    assert sorted(before) == [".vol2vol", "a.tif", "b.tif"]
    assert main(words) == 0
    assert "files done before: 2" in capsys.readouterr().out
    assert {name: stamps(out)[name] for name in ("a.tif", "b.tif")} == {n: before[n] for n in ("a.tif", "b.tif")}
    predict_files(models[2], source / "*.tif", tmp_path / "calm")
    assert contents(out) == contents(tmp_path / "calm")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("suffix", ["auto", ".zarr"])
def test_killed_at_any_moment_the_same_call_ends_in_the_same_bytes(models, suffix, tmp_path):
    shapes = {f"i{n}": (30 + n % 3, 31) for n in range(12)} | {"large": (40, 50, 45)}
    source, out = tiffs(tmp_path / "in", shapes), tmp_path / "out"
    job = {"model": models[2], "input": f"{source}/*.tif", "settings": {"any_intensity": True}, "suffix": suffix}
    killing = Killing(tmp_path, seed=len(suffix))
    try:
        seconds = killing.whole(**job, output=tmp_path / "calm")
        killing.until_complete(seconds, 4, **job, output=out)
    finally:
        killing.close()
    assert killing.kills
    assert contents(out) == contents(tmp_path / "calm")
    assert not [path for path in tmp_path.rglob("*") if "aside" in path.name or path.name.endswith(".lock")]
