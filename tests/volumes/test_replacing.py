"""Files that vol2vol did not write are never replaced, even with `--overwrite`; its own unfinished outputs are."""

import os
import shutil

import numpy as np
import pytest
import tensorstore as ts
import zarr

from vol2vol.errors import AlreadyExists
from vol2vol.geometry import Box
from vol2vol.preparation import Preparation, prepare_volume
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.ledger import Ledger

STEPS = Preparation.model_validate({"steps": [{"step": "binarise"}], "chunks": [8, 8, 8]})


@pytest.fixture
def source(tmp_path):
    volume = create_volume(
        tmp_path / "in.zarr", shape=(1, 8, 16, 16), dtype="uint8", voxel_size=(1, 1, 1), unit="nanometer"
    )
    volume.write(Box.of((8, 16, 16)), np.full((1, 8, 16, 16), 200, np.uint8))
    volume.close()
    return tmp_path / "in.zarr"


def array3(out):
    zarr.create_array(out / "0", shape=(8, 8, 8), dtype="u1", chunks=(4, 4, 4))


def array2(out):
    zarr.create_array(out / "0", shape=(8, 8, 8), dtype="u1", chunks=(4, 4, 4), zarr_format=2)


def group(out):
    zarr.create_group(out)


def image_of_another(out):
    zarr.create_group(out, attributes={"ome": {"version": "0.5"}, "creator": "microscope"})
    array3(out)


def of_tensorstore(out):
    metadata = {"shape": [8, 8], "data_type": "uint8"}
    kvstore = {"driver": "file", "path": f"{out / '0'}/"}
    ts.open({"driver": "zarr3", "kvstore": kvstore, "metadata": metadata, "create": True}).result()


def links(out):
    (out / "0").mkdir(parents=True)
    (out / "0" / "zarr.json").symlink_to(out.parent / "precious")


def pipes(out):
    (out / "0").mkdir(parents=True)
    os.mkfifo(out / "0" / "0")


def empty_folders(out):
    (out / "0" / "c").mkdir(parents=True)


def folder_of_links(out):
    out.mkdir()
    (out / "0").symlink_to(out.parent)


def file(out):
    out.write_bytes(b"mine")


def link(out):
    (out.parent / "elsewhere").mkdir()
    out.symlink_to(out.parent / "elsewhere")


def dangling(out):
    out.symlink_to(out.parent / "nothing")


def pipe(out):
    os.mkfifo(out)


def lock_of_another(out):
    out.mkdir()
    (out / "zarr.json.__lock").write_bytes(b'{"zarr_format": 3, "attributes": {"mine": 1}}')


def inside_of_a_ledger(out):
    (out / ".vol2vol" / "done").mkdir(parents=True)


STRANGERS = [
    array3, array2, group, image_of_another, of_tensorstore, links, pipes, empty_folders, folder_of_links, file, link,
    dangling, pipe, lock_of_another, inside_of_a_ledger,
]  # fmt: skip


def listing(folder):
    return {
        str(path.relative_to(folder)): (os.lstat(path).st_ino, os.lstat(path).st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda made: made.__name__)
def test_what_others_wrote_is_left_alone(stranger, overwrite, source, tmp_path):
    (tmp_path / "precious").write_text("mine")
    stranger(tmp_path / "out.zarr")
    before = listing(tmp_path)
    with pytest.raises(AlreadyExists, match="choose another name"):
        prepare_volume(source, tmp_path / "out.zarr", STEPS, overwrite=overwrite)
    with pytest.raises(AlreadyExists):
        create_volume(
            tmp_path / "out.zarr", shape=(1, 8, 8, 8), dtype="u1", voxel_size=(1, 1, 1), unit="", overwrite=overwrite
        )
    assert listing(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("stranger", [pipe, dangling, link, file], ids=lambda made: made.__name__)
def test_a_tiff_replaces_no_stranger_either(stranger, overwrite, source, tmp_path):
    stranger(tmp_path / "out.tif")
    before = listing(tmp_path)
    with pytest.raises(AlreadyExists):
        prepare_volume(source, tmp_path / "out.tif", Preparation(steps=STEPS.steps), overwrite=overwrite)
    assert listing(tmp_path) == before


def test_an_empty_folder_is_no_hindrance(source, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    prepare_volume(source, tmp_path / "out.zarr", STEPS)
    assert open_volume(tmp_path / "out.zarr").read(Box.of((8, 16, 16))).all()


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_creation_that_was_killed_anywhere_is_begun_again(version, source, tmp_path, monkeypatch):
    """Of all that a creation writes, in order, any beginning may be what a killed one left."""
    steps = STEPS.model_copy(update={"ome_version": version})
    whole = tmp_path / "whole.zarr"
    prepare_volume(source, whole, steps)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "begin", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare_volume(source, tmp_path / "begun.zarr", steps)
    written = sorted(
        (p for p in (tmp_path / "begun.zarr").rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns
    )
    names = [p.relative_to(tmp_path / "begun.zarr") for p in written]
    assert [str(name) for name in names] == (
        ["zarr.json", "0/zarr.json"] if version == "0.5" else [".zattrs", ".zgroup", "0/.zarray"]
    )
    for count in range(len(names) + 1):
        for torn in ("", b"", b"half", None):
            out = tmp_path / f"out-{count}-{torn}.zarr"
            for name in names[:count]:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tmp_path / "begun.zarr" / name, out / name)
            if torn is not None and count < len(names):
                lock = out / f"{names[count]}.__lock"
                lock.parent.mkdir(parents=True, exist_ok=True)
                whole_text = (tmp_path / "begun.zarr" / names[count]).read_bytes()
                text = {"": whole_text, b"": b"", b"half": whole_text[: len(whole_text) // 2]}[torn]
                if torn == b"half" and b'"vol2vol"' not in text and count == 0:
                    continue  # nobody could say whose it is
                lock.write_bytes(text)
            prepare_volume(source, out, steps)
            assert not (out / ".vol2vol").exists()
            assert open_volume(out).read(Box.of((8, 16, 16))).all()


def test_only_what_a_ledger_consists_of_is_removed_with_it(tmp_path):
    (tmp_path / "out.tif.vol2vol").mkdir()
    (tmp_path / "out.tif.vol2vol" / "notes.txt").write_text("mine")
    ledger = Ledger.of(str(tmp_path / "out.tif"))
    ledger.marks(ledger.begin({})).mark("a", 1)
    ledger.remove()
    assert [path.name for path in (tmp_path / "out.tif.vol2vol").iterdir()] == ["notes.txt"]
