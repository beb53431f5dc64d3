"""Tests of files that hang, expand or are not valid: each is refused in one line, in bounded time and memory."""

import contextlib
import datetime
import json
import os
import pickle
import socket
import zipfile

import h5py
import numpy as np
import pytest
import tifffile
import torch
import yaml

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.files import check_zip, parse_json, read_bytes, read_text, real_path
from vol2vol.geometry import Box
from vol2vol.intensity import Intensity
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.nets.torch_files import load_tensors
from vol2vol.protocol import between
from vol2vol.schemas import as_json
from vol2vol.volumes import create_volume, open_volume

WHOLE = Box.of((6, 16, 16))


def volume(path, **more):
    """Write a small volume."""
    shape = (1, 6, 16, 16)
    volume = create_volume(path, shape=shape, dtype="u1", voxel_size=(1, 1, 1), unit="nm", chunks=(2, 16, 16), **more)
    volume.write(WHOLE, np.random.default_rng(0).integers(0, 255, (1, 6, 16, 16), np.uint8))
    volume.close()
    return path


def refused(capsys, *words):
    """Run a command that must be refused in one line; return this line."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    err = capsys.readouterr().err
    assert code == 2, err
    assert err.count("\n") == 1, err
    return err


# Pipes, sockets, devices


@pytest.fixture
def pipe(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")

    def make(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        return path

    return make


@pytest.mark.parametrize("name", ["a.tif", "a.mrc", "a.h5", "a.zarr", "a.bin", "a.png"])
def test_a_pipe_is_no_volume(name, pipe):
    with pytest.raises(Unreadable, match=r"is a pipe, not a file: write its data"):
        open_volume(pipe(name))


def test_a_pipe_inside_a_volume(pipe, tmp_path):
    with pytest.raises(Unreadable, match="is a pipe"):
        open_volume(pipe("a.zarr/zarr.json").parent)
    for name, version in (("five.zarr", "0.5"), ("four.zarr", "0.4")):
        path = volume(tmp_path / name, version=version)
        chunk = next(p for p in sorted((path / "0").rglob("*")) if p.is_file() and p.name.isdigit())
        chunk.unlink()
        os.mkfifo(chunk)
        with open_volume(path) as opened, pytest.raises(Unreadable, match="is a pipe"):
            opened.read(WHOLE)
    tifffile.imwrite(tmp_path / "1.tif", np.zeros((8, 8), np.uint8))
    pipe("2.tif")
    with pytest.raises(Unreadable, match=r"2\.tif is a pipe"):
        open_volume(tmp_path, voxel_size=(1, 1, 1))


def test_pipes_sockets_and_devices_elsewhere(pipe, tmp_path, capsys):
    recipe = pipe("recipe.yaml")
    for words in (["recipes", recipe], ["info", recipe.parent], ["certify", pipe("a.zip"), "--trust"]):
        refused(capsys, *words)
    with pytest.raises(Unreadable, match="is a pipe"):
        load_tensors(pipe("a.pth"), "again")
    with socket.socket(socket.AF_UNIX) as sock:
        os.chdir(tmp_path)
        sock.bind("s.tif")
        with pytest.raises(Unreadable, match="is a socket"):
            open_volume("s.tif")
    with pytest.raises(Unreadable, match="is a device"):
        open_volume("/dev/zero")


# Sizes


def test_documents_are_bounded_before_they_are_read(tmp_path):
    path = volume(tmp_path / "a.zarr")
    with (path / "zarr.json").open("r+b") as file:
        file.truncate(10 << 30)  # sparse: 10 GB that take no room
    with pytest.raises(Unreadable, match=r"zarr\.json has 10737418240 bytes, at most"):
        open_volume(path)
    recipe = tmp_path / "big.yaml"
    recipe.write_text("extends: small-2d\n")
    with recipe.open("r+b") as file:
        file.truncate(10 << 30)
    with pytest.raises(Unreadable, match="at most"):
        read_text(recipe)
    with pytest.raises(NotFound):
        read_bytes(tmp_path / "none")
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(Unreadable, match="not UTF-8 text"):
        read_text(tmp_path / "b")


def bomb(path, member="archive/data.pkl"):
    """Write a zip of some kilobytes that expands to 200 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, bytes(200 << 20))
    return path


def test_archives_that_explode_are_not_opened(tmp_path, capsys):
    for name in ("a.pth", "a.zip"):
        with pytest.raises(Unreadable, match="would expand to 209715200"):
            check_zip(bomb(tmp_path / name))
    with pytest.raises(Unreadable, match="would expand"):
        load_tensors(tmp_path / "a.pth", "again")
    assert "would expand" in refused(capsys, "import", tmp_path / "a.pth", tmp_path / "out", "--dims", "2")
    assert "would expand" in refused(capsys, "certify", bomb(tmp_path / "b.zip", "rdf.yaml"), "--trust")
    torch.save({"w": torch.zeros(1000)}, tmp_path / "fine.pth")
    assert set(load_tensors(tmp_path / "fine.pth", "again")) == {"w"}


# PyTorch files


STRANGE = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "expanded": lambda: torch.zeros(1).expand(10**6, 10**6),
    "meta": lambda: torch.zeros(3, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.quint8),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_plain(kind, tmp_path):
    torch.save({"deep": [{"w": STRANGE[kind]()}]}, tmp_path / "a.pth")
    with pytest.raises(Unreadable, match=r"a\.pth .*: do this"):
        load_tensors(tmp_path / "a.pth", "do this")


def test_damaged_pytorch_files(tmp_path):
    torch.save({"model.model.0.weight": torch.zeros(4, 1, 4, 4)}, tmp_path / "whole.pth")
    data, rng = (tmp_path / "whole.pth").read_bytes(), np.random.default_rng(0)
    path = tmp_path / "a.pth"
    for case in range(60):
        damaged = bytearray(data[: rng.integers(1, len(data))] if case % 3 == 0 else data)
        for at in rng.integers(0, len(damaged), 4):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(Unreadable, BadInput):
            nets.load_reference(path, 2)
    path.write_bytes(pickle.dumps({"a": np.float64}))
    with pytest.raises(Unreadable, match=r"plain tensors: give the \.pth of one generator$"):  # no advice of torch's
        nets.load_reference(path, 2)


# Nesting


DEEP = "[" * 100_000 + "]" * 100_000


def test_deeply_nested_json():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


def test_deeply_nested_metadata(tmp_path):
    for key in ("zarr.json", ".zattrs", ".zarray", "attributes.json"):
        folder = tmp_path / f"{key.strip('.')}.zarr"
        folder.mkdir()
        (folder / key).write_text(DEEP)
        with pytest.raises(Unreadable, match="not valid JSON"):
            open_volume(folder)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.zeros((4, 5, 6), np.uint8)
        file["raw"].attrs.create("axistags", DEEP, dtype=h5py.string_dtype())
    assert open_volume(tmp_path / "a.h5", voxel_size=(1, 1, 1)).shape == (1, 4, 5, 6)


def test_a_deeply_nested_plan(tmp_path, capsys):
    path = volume(tmp_path / "a.zarr")
    (path / ".vol2vol").mkdir()
    (path / ".vol2vol" / "plan.json").write_text(DEEP)
    assert "damaged" in refused(capsys, "work", path)


# Damage and nonsense


def damaged(path, data, rng, *, cuts):
    """Write data with some bytes changed, or cut off."""
    changed = bytearray(data[: rng.integers(1, len(data))] if cuts and rng.random() < 0.3 else data)
    for at in rng.integers(0, len(changed), rng.integers(1, 6)):
        changed[at] = rng.choice([0, 255, changed[at] ^ 1, rng.integers(0, 256)])
    path.write_bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["h5", "tif", "strips.tif"])
def test_damaged_files_are_refused_or_read(kind, tmp_path):
    array = np.arange(4 * 12 * 12, dtype=np.uint16).reshape(4, 12, 12)
    whole = tmp_path / f"whole.{kind}"
    if kind == "h5":
        with h5py.File(whole, "w") as file:
            file.create_dataset("raw", data=array, chunks=(2, 6, 6), compression="gzip")
            file["raw"].attrs["element_size_um"] = [1.0, 1.0, 1.0]
            file["raw"].attrs["note"] = "x" * 300
    else:
        tifffile.imwrite(whole, array, compression="zlib" if "strips" in kind else None, photometric="minisblack")
    data, rng = whole.read_bytes(), np.random.default_rng(1)
    path, refusals = tmp_path / f"a.{kind}", 0
    for _ in range(150):
        damaged(path, data[:2000] + data[2000:], rng, cuts=True)
        try:
            with open_volume(path, voxel_size=(1, 1, 1)) as opened:
                opened.fingerprint()
        except (BadInput, Unreadable, NotFound):
            refusals += 1
    assert refusals > 20


def test_tiff_tags_of_nonsense(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), rowsperstrip=2, compression="zlib")
    for name, value in (("StripOffsets", []), ("StripByteCounts", []), ("RowsPerStrip", 0), ("ImageLength", 0)):
        copy = tmp_path / f"{name}.tif"
        copy.write_bytes(path.read_bytes())
        with tifffile.TiffFile(copy, mode="r+b") as file:
            tag = file.pages.first.tags[name]
            file.filehandle.seek(tag.offset + 4)
            file.filehandle.write((0).to_bytes(4, "little") if value == [] else (1).to_bytes(4, "little"))
            if value != []:
                file.filehandle.write((0).to_bytes(4, "little"))
        try:
            with open_volume(copy, voxel_size=(1, 1, 1)) as opened:
                opened.read(Box.of(opened.spatial))
        except (BadInput, Unreadable):
            continue


def test_links_to_themselves(tmp_path, capsys):
    loop = tmp_path / "loop.zarr"
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("links cannot be made here")
    assert real_path(loop).name == "loop.zarr"
    network = nets.build("unet", dims=2, width=4, levels=2)
    save_bundle(
        tmp_path / "m",
        between({"forward": network}),
        {domain: Intensity(low=(0.0,), high=(255.0,)) for domain in ("source", "target")},
        channels={"source": 1, "target": 1},
    )
    source = volume(tmp_path / "a.zarr")
    for words in (
        ["info", loop],
        ["predict", tmp_path / "m", loop, tmp_path / "out.zarr"],
        ["predict", tmp_path / "m", source, loop],
        ["predict", tmp_path / "m", source, loop, "--overwrite"],
        ["prepare", source, loop],
    ):
        refused(capsys, *words)
    assert loop.is_symlink()


def test_what_a_model_says_can_be_repeated_as_json():
    values = [float("inf"), float("nan"), datetime.date(2026, 1, 2)]
    attributes = {1: values, "a": {None: {"x"}, "b": (1, 2.5, True, None)}}
    plain = as_json(attributes)
    assert plain == {"1": ["inf", "nan", "2026-01-02"], "a": {"None": ["x"], "b": [1, 2.5, True, None]}}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_settings_of_a_model_that_are_endless(tmp_path):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"schema": 1}) + "# " + "x" * (2 << 20))
    with pytest.raises(Unreadable, match="bytes"):
        load_bundle(tmp_path)


def test_json_of_hostile_numbers(tmp_path):
    path = volume(tmp_path / "a.zarr")
    for shape in ([10**400, 16, 16], [1e400, 16, 16], ["6", 16, 16], [-1, 16, 16], None, {}, [6, 16], [True] * 3):
        meta = json.loads((path / "0" / "zarr.json").read_text())
        meta["shape"] = shape
        (path / "0" / "zarr.json").write_text(json.dumps(meta))
        with pytest.raises((Unreadable, BadInput)):
            open_volume(path)
        meta["shape"] = [6, 16, 16]
        (path / "0" / "zarr.json").write_text(json.dumps(meta))


def test_attributes_that_json_cannot_hold_are_named(tmp_path):
    path = tmp_path / "a.zarr"
    volume = create_volume(path, shape=(1, 4, 8, 8), dtype="u1", voxel_size=(1, 1, 1), unit="nm")
    with pytest.raises(BadInput, match="holds NaN or infinity, which JSON cannot"):
        volume.set_attrs({"mine": [1.0, float("inf")]})
