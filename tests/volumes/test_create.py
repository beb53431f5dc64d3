"""Volumes written by vol2vol, read by other programs."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models import open_ome_zarr

from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.geometry import Box, grid
from vol2vol.volumes import create_volume, open_volume

RNG = np.random.default_rng(5)
VOXELS = {"voxel_size": (40, 4, 4), "unit": "nm"}


def fill(path, dtype="u2", channels=1, spatial=(37, 45, 61), **options):
    """Create a volume and write it shard by shard, in a random order."""
    array = (RNG.random((channels, *spatial)) * 250 - (100 if np.dtype(dtype).kind != "u" else 0)).astype(dtype)
    with create_volume(path, shape=array.shape, dtype=dtype, **VOXELS, **options) as volume:
        blocks = grid(Box.of(volume.spatial), volume.shards[1:])
        for number in RNG.permutation(len(blocks)):
            box = blocks[number]
            volume.write(box, array[(slice(None), *box.slices)])
    return array


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (8, 16, 16), "shards": (16, 32, 32)},
        {"chunks": (8, 16, 16)},
        {"chunks": (8, 16, 16), "version": "0.4"},
        {},
    ],
)
def test_ome_zarr_is_read_back_by_zarr_python(tmp_path, dtype, channels, options):
    path = tmp_path / "ein Ausgang ß.ome.zarr"
    array = fill(path, dtype, channels, attrs={"vol2vol": {"how": ["a", 1]}}, **options)
    group = zarr.open_group(path, mode="r")
    stored = group["0"]
    assert stored.metadata.zarr_format == (2 if options.get("version") == "0.4" else 3)
    np.testing.assert_array_equal(stored[...].reshape(array.shape), array)
    assert group.attrs["vol2vol"] == {"how": ["a", 1]}
    if "shards" in options:
        assert stored.shards[-3:] == options["shards"]
        assert stored.chunks[-3:] == options["chunks"]
    volume = open_volume(path)
    assert (volume.voxel_size, volume.unit, volume.attrs["vol2vol"]["how"]) == ((40, 4, 4), "nanometer", ["a", 1])
    assert volume.chunks == (1, *options.get("chunks", (37, 45, 61)))
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), array)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_metadata_is_valid(tmp_path, version, channels):
    fill(tmp_path / "a.zarr", channels=channels, version=version, chunks=(16, 16, 16))
    image = open_ome_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    scales = image.attributes.multiscales if version == "0.4" else image.attributes.ome.multiscales
    axes = scales[0].axes
    assert [a.name for a in axes] == ["c", "z", "y", "x"][channels == 1 :]
    assert axes[-1].unit == "nanometer"
    assert list(scales[0].datasets[0].coordinateTransformations[0].scale) == [1.0] * (channels > 1) + [40, 4, 4]


def test_every_shard_is_stored_even_if_it_is_all_fill(tmp_path):
    options = {"chunks": (8, 8, 8), "shards": (16, 16, 16)}
    volume = create_volume(tmp_path / "a.zarr", shape=(1, 20, 16, 16), dtype="u1", **VOXELS, **options)
    volume.write(Box((0, 0, 0), (16, 16, 16)), np.zeros((1, 16, 16, 16), np.uint8))
    assert (tmp_path / "a.zarr/0/c/0/0/0").exists()
    assert not (tmp_path / "a.zarr/0/c/1/0/0").exists()
    volume.write(Box((16, 0, 0), (20, 16, 16)), np.zeros((1, 4, 16, 16), np.uint8))
    assert (tmp_path / "a.zarr/0/c/1/0/0").exists()


def test_a_restarted_writer_gets_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        options = {"shape": (1, 32, 16, 16), "dtype": "u1", "chunks": (8, 8, 8), "shards": (16, 16, 16)}
        volume = create_volume(tmp_path / f"{name}.zarr", **options, **VOXELS)
        for number, box in enumerate(grid(Box.of(volume.spatial), volume.shards[1:])):
            if name == "b":
                volume = open_volume(tmp_path / "b.zarr")
                volume.write(box, np.full((1, *box.shape), 9, np.uint8))  # a block that was begun before
            volume.write(box, np.full((1, *box.shape), number, np.uint8))
    files = [f.relative_to(tmp_path / "a.zarr") for f in (tmp_path / "a.zarr/0").rglob("*") if f.is_file()]
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "a.zarr" / file).read_bytes() == (tmp_path / "b.zarr" / file).read_bytes()


def test_boxes_that_cut_shards_are_our_mistake(tmp_path):
    options = {"chunks": (8, 8, 8), "shards": (16, 16, 16)}
    volume = create_volume(tmp_path / "a.zarr", shape=(1, 40, 16, 16), dtype="u1", **VOXELS, **options)
    for box in (Box((0, 0, 0), (8, 16, 16)), Box((8, 0, 0), (24, 16, 16))):
        with pytest.raises(AssertionError, match="cuts through shards"):
            volume.write(box, np.zeros((1, *box.shape), np.uint8))
    with pytest.raises(AssertionError):
        volume.write(Box((0, 0, 0), (16, 16, 16)), np.zeros((1, 16, 16, 16), np.uint16))


def test_attributes_are_added(tmp_path):
    for name in ("a.zarr", "b.zarr", "c.tif"):
        version = "0.4" if name == "b.zarr" else "0.5"
        options = {"shape": (1, 4, 5, 6), "dtype": "u1", "version": version, "attrs": {"first": 1}}
        volume = create_volume(tmp_path / name, **options, **VOXELS)
        volume.set_attrs({"vol2vol": {"complete": True, "ü": "µ" * 3000}})  # noqa: RUF001
        assert volume.attrs == open_volume(tmp_path / name).attrs
        assert open_volume(tmp_path / name).attrs == {"first": 1, "vol2vol": volume.attrs["vol2vol"]}
        assert open_volume(tmp_path / name).voxel_size == (40, 4, 4)


def test_nothing_is_overwritten_unasked(tmp_path):
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", **VOXELS}
    for name in ("a.zarr", "a.tif"):
        create_volume(tmp_path / name, **options)
        with pytest.raises(AlreadyExists, match=rf"{name} exists: give `overwrite`"):
            create_volume(tmp_path / name, **options)
        assert create_volume(tmp_path / name, **options | {"shape": (1, 9, 5, 6)}, overwrite=True).spatial == (9, 5, 6)


def test_an_unfinished_output_with_its_ledger_can_be_replaced(tmp_path):
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", **VOXELS}
    create_volume(tmp_path / "a.zarr", **options)
    (tmp_path / "a.zarr/.vol2vol/done").mkdir(parents=True)
    create_volume(tmp_path / "a.zarr", **options, overwrite=True)
    assert not (tmp_path / "a.zarr/.vol2vol").exists()


STRAYS = [
    "notes.txt",
    "labels/hand.npy",
    "0/notes.txt",
    "0/c/0/mine",
    "1/c/notes",
    ".vol2vol/mine",
    "2.png",
    "empty folder/",
]


@pytest.mark.parametrize("stray", STRAYS)
def test_overwrite_spares_an_image_with_anything_of_others_at_any_depth(tmp_path, stray):
    fill(tmp_path / "a.zarr", chunks=(16, 16, 16))
    place = tmp_path / "a.zarr" / stray
    place.mkdir() if stray.endswith("/") else place.parent.mkdir(parents=True, exist_ok=True)
    if not stray.endswith("/"):
        place.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        AlreadyExists, match=rf"holds {stray}, which is not part of an image of vol2vol: .*remove it yourself"
    ):
        create_volume(tmp_path / "a.zarr", shape=(1, 4, 5, 6), dtype="u1", overwrite=True, **VOXELS)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_overwrite_spares_the_images_of_other_programs(tmp_path, version):
    for name in ("a.zarr", "b.zarr"):
        fill(tmp_path / name, version=version)
    file = tmp_path / "a.zarr" / ("zarr.json" if version == "0.5" else ".zattrs")
    file.write_text(file.read_text().replace('"_creator"', '"creator"'))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 6), np.uint8), ome=True)
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", "overwrite": True, **VOXELS}
    for name in ("a.zarr", "a.tif"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(AlreadyExists, match=rf"{name} does not say that vol2vol wrote it: .*remove it yourself"):
            create_volume(tmp_path / name, **options)
        assert sorted(tmp_path.rglob("*")) == before
    create_volume(tmp_path / "b.zarr", **options)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_damaged_and_half_deleted_outputs_can_be_replaced(tmp_path, version):
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", "overwrite": True, **VOXELS}
    root = "zarr.json" if version == "0.5" else ".zattrs"
    for name in ("cut", "planned", "half", "locked"):
        path = tmp_path / f"{name}.zarr"
        fill(path, version=version, attrs={"vol2vol": {"complete": False}}, chunks=(16, 16, 16))
        if name == "cut":
            (path / root).write_bytes((path / root).read_bytes()[:-20])
        if name == "planned":
            (path / root).unlink()
            (path / ".zgroup").unlink(missing_ok=True)
        if name == "planned":
            (path / ".vol2vol").mkdir()
            (path / ".vol2vol" / "plan.json").write_text("damaged")
        if name == "half":
            shutil.rmtree(path / "0")
        if name == "locked":
            (path / f"{root}.__lock").write_text("")
        assert create_volume(path, **options).spatial == (4, 5, 6)


def test_damaged_tiffs_of_ours_can_be_replaced(tmp_path):
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", **VOXELS}
    path = tmp_path / "a.tif"
    for attrs in ({}, {"vol2vol": {"complete": False}}):
        create_volume(path, **options, attrs=attrs, overwrite=True)
        path.write_bytes(path.read_bytes()[:-60])
        create_volume(path, **options, attrs=attrs, overwrite=True)
        whole = path.read_bytes()
        path.write_bytes(whole[:4] + b"\xff" * 8 + whole[12:])
        create_volume(path, **options, attrs=attrs, overwrite=True)
    path.write_bytes(b"II*\0")
    (tmp_path / "a.tif.vol2vol").mkdir()
    (tmp_path / "a.tif.vol2vol" / "plan.json").write_text("{}")
    create_volume(path, **options, overwrite=True)


def test_equal_tiffs_have_equal_bytes(tmp_path):
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", "attrs": {"vol2vol": {"how": 1}}, **VOXELS}
    for name in ("a.tif", "b.tif"):
        create_volume(tmp_path / name, **options)
    create_volume(tmp_path / "c.tif", **options | {"attrs": {"vol2vol": {"how": 2}}})
    one, two, other = ((tmp_path / f"{name}.tif").read_bytes() for name in "abc")
    assert one == two
    uuids = {re.search(b'UUID="urn:uuid:([-0-9a-f]+)"', text)[1] for text in (one, two, other)}
    assert len(uuids) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.tif", "c.tif"]


def test_overwrite_spares_everything_that_is_no_volume(tmp_path):
    options = {"shape": (1, 4, 5, 6), "dtype": "u1", "overwrite": True, **VOXELS}
    create_volume(tmp_path / "a.zarr", **options)
    (tmp_path / "a.zarr/notes.txt").write_text("dear diary")
    (tmp_path / "b.zarr/photos").mkdir(parents=True)
    (tmp_path / "c.zarr").write_text("a file")
    (tmp_path / "d.tif").write_text("a letter")
    (tmp_path / "e.tif").mkdir()
    create_volume(tmp_path / "real.zarr", **options)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "real.zarr")
    for name in ("a.zarr", "b.zarr", "c.zarr", "d.tif", "e.tif", "link.zarr"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(AlreadyExists, match=rf"{name}.*(choose another name)"):
            create_volume(tmp_path / name, **options)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.h5", {}, "end in .zarr .OME-Zarr. or .tif"),
        ("a.n5", {}, "end in .zarr"),
        ("a.zarr", {"shape": (4, 5, 6)}, "C,Z,Y,X"),
        ("a.zarr", {"shape": (1, 0, 5, 6)}, "C,Z,Y,X"),
        ("a.zarr", {"dtype": "c8"}, "numbers"),
        ("a.zarr", {"unit": "furlong"}, "`unit` furlong"),
        ("a.zarr", {"voxel_size": (1, 1)}, "`voxel_size`"),
        ("a.zarr", {"voxel_size": (1, 0, 1)}, "`voxel_size`"),
        ("a.zarr", {"chunks": (8, 8)}, "chunks"),
        ("a.zarr", {"chunks": (8, 8, 8), "shards": (12, 16, 16)}, "multiples of the chunks"),
        ("a.zarr", {"chunks": (8, 8, 8), "shards": (8, 8, 8), "version": "0.4"}, "0.4 has no shards"),
        ("a.zarr", {"version": "0.3"}, "use 0.5 or 0.4"),
        ("a.tif", {"dtype": "i8"}, "write OME-Zarr instead"),
    ],
)
def test_wrong_requests_leave_nothing_behind(tmp_path, name, options, message):
    with pytest.raises(BadInput, match=message):
        create_volume(tmp_path / name, **{"shape": (1, 4, 5, 6), "dtype": "u1", **VOXELS, **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_tiff_blocks_in_any_order_and_after_a_restart(tmp_path, channels, dtype):
    array = (RNG.random((channels, 9, 31, 43)) * 250 - (100 if np.dtype(dtype).kind != "u" else 0)).astype(dtype)
    path = tmp_path / "a.ome.tif"
    create_volume(path, shape=array.shape, dtype=dtype, **VOXELS, attrs={"k": 1}).close()
    blocks = grid(Box.of(array.shape[1:]), (4, 16, 7))
    for number in RNG.permutation(len(blocks)):
        with open_volume(path) as volume:
            box = blocks[number]
            volume.write(box, array[(slice(None), *box.slices)])
    np.testing.assert_array_equal(tifffile.imread(path).reshape(array.shape), array)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == channels * 9
        assert 'PhysicalSizeZ="40.0"' in file.ome_metadata
    np.testing.assert_array_equal(open_volume(path).read(Box.of(array.shape[1:])), array)


def test_outputs_without_a_known_unit_open_again(tmp_path):
    for name in ("a.zarr", "a.tif"):
        create_volume(tmp_path / name, shape=(1, 4, 5, 6), dtype="u1", voxel_size=(1, 1, 1), unit="")
        volume = open_volume(tmp_path / name)
        assert (volume.voxel_size, volume.unit) == ((1, 1, 1), "")


def test_missing_permission_is_one_line(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    for name in ("a.zarr", "a.tif"):
        with pytest.raises(CannotWrite, match=rf"{name}"):
            create_volume(tmp_path / "locked" / name, shape=(1, 4, 5, 6), dtype="u1", **VOXELS)


def test_a_tiff_that_does_not_fit_is_refused_at_once(tmp_path):
    with pytest.raises(CannotWrite, match="free some space"):
        create_volume(tmp_path / "a.tif", shape=(1, 10**6, 10**5, 10**4), dtype="u1", **VOXELS)
    assert not list(tmp_path.iterdir())


FULL = """
import json, sys, resource, signal
import numpy as np
from vol2vol.errors import CannotWrite
from vol2vol.geometry import Box
from vol2vol.volumes import create_volume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
volume = create_volume(sys.argv[1], shape=(1, 64, 64, 64), dtype="u1", voxel_size=(1, 1, 1), unit="nm")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    volume.write(Box.of(volume.spatial), np.random.default_rng(0).integers(0, 255, volume.shape, np.uint8))
except CannotWrite as error:
    print(json.dumps(str(error)))
"""


def test_a_write_that_the_system_refuses_is_one_line_and_leaves_no_half_shard(tmp_path):
    assert resource
    assert signal
    command = [sys.executable, "-W", "ignore", "-c", FULL, str(tmp_path / "a.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message = json.loads(done.stdout)
    assert "a.zarr" in message
    assert "cannot be written" in message
    assert "\n" not in message
    assert not (tmp_path / "a.zarr/0/c/0/0/0").exists()


def test_what_a_full_disk_says_becomes_the_cure():
    from vol2vol.volumes.formats.store import refusal

    full = ValueError("RESOURCE_EXHAUSTED: Error writing x: No space left on device [os_error_code='28']")
    assert str(refusal("out.zarr", full, writing=True)) == (
        "out.zarr: the disk is full: free some space and start again"
    )
    denied = ValueError("PERMISSION_DENIED: Error writing local file [os_error_code='13']")
    assert isinstance(refusal("out.zarr", denied, writing=True), CannotWrite)
    assert "no permission to write" in str(refusal("out.zarr", denied, writing=True))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc, in which nobody can write")
def test_a_place_where_no_folder_can_be_made_is_named_in_the_words_of_the_system(tmp_path):
    with pytest.raises(
        CannotWrite, match=r"^/proc/a\.zarr\S* cannot be written \([A-Z][a-z ]+\): choose another place$"
    ):
        create_volume("/proc/a.zarr", shape=(1, 4, 4, 4), dtype="u1", voxel_size=(1, 1, 1), unit="nm", chunks=(4, 4, 4))
