"""HDF5 with voxels in other files or compressed by filters: read correctly, or refused with the cure."""

from __future__ import annotations

import os
import sys

import h5py
import numpy as np
import pytest

from vol2vol.cli import main
from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

STACK = np.random.default_rng(8).integers(0, 65536, (4, 6, 10)).astype(np.uint16)


def read(name):
    with open_volume(name, voxel_size=(1, 1, 1)) as volume:
        return volume.read(Box.of(volume.spatial))[0]


@pytest.fixture
def files(tmp_path):
    """Return a folder with an array in a file of its own, and a secret beside the folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    for path, array in ((folder / "part.h5", STACK), (tmp_path / "secret.h5", STACK * 0 + 7)):
        with h5py.File(path, "w") as file:
            file["raw"] = array
    STACK.tofile(folder / "part.bin")
    (STACK * 0 + 7).tofile(tmp_path / "secret.bin")
    return folder


def linked(folder, target, inner="/raw"):
    with h5py.File(folder / "a.h5", "w") as file:
        file["raw"] = h5py.ExternalLink(str(target), inner)
        file["group/soft"] = h5py.SoftLink("/raw")
        file["loop"] = h5py.SoftLink("/loop")
        file["other"] = STACK[0]
    return folder / "a.h5"


def virtual(folder, target, inner="raw", shape=STACK.shape):
    layout = h5py.VirtualLayout(STACK.shape, "u2")
    layout[: shape[0]] = h5py.VirtualSource(str(target), inner, shape)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_virtual_dataset("raw", layout, fillvalue=9)
    return folder / "a.h5"


def external(folder, target, size=h5py.h5f.UNLIMITED):
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", STACK.shape, "u2", external=[(str(target), 0, size)])
    return folder / "a.h5"


@pytest.mark.parametrize(
    ("make", "name"),
    [(linked, "part.h5"), (virtual, "part.h5"), (external, "part.bin")],
    ids=["link", "virtual", "raw"],
)
def test_files_of_the_same_folder_are_read_and_others_refused(files, tmp_path, monkeypatch, make, name):
    monkeypatch.chdir(tmp_path)
    path = make(files, name)
    np.testing.assert_array_equal(read(f"{path}:/raw"), STACK)
    np.testing.assert_array_equal(read("home/a.h5:/raw"), STACK)
    before = open_volume(f"{path}:/raw", voxel_size=(1, 1, 1)).fingerprint()
    os.utime(files / name, (1, 1))
    assert open_volume(f"{path}:/raw", voxel_size=(1, 1, 1)).fingerprint() != before, "a part was replaced"
    (files / name).unlink()
    with pytest.raises(NotFound, match=rf"a\.h5 names '{name}', which does not exist"):
        read(f"{path}:/raw")
    secret = "secret" + name[4:]
    for outside in (f"../{secret}", tmp_path / secret):
        with pytest.raises(BadInput, match=rf"names '.*{secret}', which lies outside its folder"):
            read(f"{make(files, outside)}:/raw")
    os.symlink(tmp_path / secret, files / name)
    with pytest.raises(BadInput, match=rf"names '{name}', which lies outside its folder"):
        read(f"{make(files, name)}:/raw")


def test_soft_links_are_followed_to_where_they_lead(files, tmp_path):
    path = linked(files, "part.h5")
    np.testing.assert_array_equal(read(f"{path}:/group/soft"), STACK)
    with pytest.raises(BadInput, match="a chain of links without end"):
        read(f"{path}:/loop")
    with pytest.raises(BadInput, match="outside its folder"):
        read(f"{linked(files, '../secret.h5')}:/group/soft")
    np.testing.assert_array_equal(read(f"{path}:/other"), STACK[0:1].squeeze()[None])
    with pytest.raises(NotFound, match=r"leads to .*part\.h5:/nothing, which does not exist"):
        read(f"{linked(files, 'part.h5', '/nothing')}:/raw")


def test_a_link_to_a_link_leaves_the_folder_neither(files):
    with h5py.File(files / "part.h5", "w") as file:
        file["raw"] = h5py.ExternalLink("../secret.h5", "/raw")
    for make in (linked, virtual):
        with pytest.raises(BadInput, match="outside its folder"):
            read(f"{make(files, 'part.h5')}:/raw")


def test_external_storage_that_is_too_short_is_not_zeros(files):
    (files / "part.bin").write_bytes(STACK.tobytes()[:-2])
    with pytest.raises(Unreadable, match=r"part\.bin is cut off: it has 478 of 480 bytes"):
        read(external(files, "part.bin"))


def test_sources_of_a_virtual_array_that_shrank_or_are_gone(files):
    path = virtual(files, "part.h5", "nothing")
    with pytest.raises(NotFound, match=r"is composed of .*part\.h5:nothing, which does not exist"):
        read(path)
    path = virtual(files, "part.h5")
    with h5py.File(files / "part.h5", "w") as file:
        file["raw"] = STACK[:3]
    with pytest.raises(Unreadable, match=r"part\.h5:raw has \(3, 6, 10\) values"):
        read(path)


def test_a_virtual_array_of_numbered_files_is_refused(files):
    many = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple(STACK.shape, (many, *STACK.shape[1:]))
    space.select_hyperslab((0, 0, 0), (many, 1, 1), stride=(4, 1, 1), block=STACK.shape)
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_virtual(space, b"part-%b.h5", b"raw", h5py.h5s.create_simple(STACK.shape))
    space.select_all()
    with h5py.File(files / "part-0.h5", "w") as file:
        file["raw"] = STACK
    with h5py.File(files / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT16, space, settings)
    with pytest.raises(BadInput, match=r"numbered files \(part-%b\.h5\)"):
        read(files / "a.h5")


def test_a_virtual_array_of_the_file_itself(files):
    layout = h5py.VirtualLayout((2, *STACK.shape[1:]), "u2")
    layout[:2] = h5py.VirtualSource(".", "raw", STACK.shape)[1:3]
    with h5py.File(files / "part.h5", "a") as file:
        file.create_virtual_dataset("cut", layout)
    np.testing.assert_array_equal(read(f"{files}/part.h5:/cut"), STACK[1:3])


@pytest.mark.parametrize(
    "options", [{"compression": "lzf"}, {"compression": "gzip", "fletcher32": True}, {"scaleoffset": 0}]
)
def test_filters_that_h5py_brings(tmp_path, options):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=STACK, chunks=(2, 3, 5), **options)
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), STACK)


def filtered(path, code, *, written):
    """Write an array with an optional filter that is not here; `written` says that a chunk went through it."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(STACK.shape)
    settings.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (0,))
    space = h5py.h5s.create_simple(STACK.shape)
    with h5py.File(path, "w") as file:
        data = h5py.Dataset(h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT16, space, settings))
        data.id.write_direct_chunk((0, 0, 0), STACK.tobytes(), filter_mask=0 if written else 1)
    return path


@pytest.mark.parametrize(
    ("code", "name"), [(32008, "bitshuffle"), (32001, "Blosc"), (32015, "zstd"), (40000, "another")]
)
def test_a_filter_that_is_missing_is_named_when_the_file_is_opened(tmp_path, monkeypatch, capsys, code, name):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    path = filtered(tmp_path / "a.h5", code, written=True)
    with pytest.raises(Unreadable, match=rf"filter {code} .*{name}.*: pip install hdf5plugin, or .*h5repack"):
        open_volume(path, voxel_size=(1, 1, 1))
    assert main(["info", str(path), "--voxel-size", "1,1,1"]) == 2
    assert "restore" not in capsys.readouterr().err
    np.testing.assert_array_equal(read(filtered(path, code, written=False)), STACK)


def bdv(path, array):
    with h5py.File(path, "w") as file:
        file["t00000/s00/0/cells"] = array
        file["s00/resolutions"] = np.ones((1, 3))
        file["s00/subdivisions"] = np.full((1, 3), 8)
    return path


def test_int16_of_bigdataviewer_is_uint16(tmp_path):
    path = bdv(tmp_path / "a.h5", STACK.view(np.int16))
    assert STACK.max() > 40000
    for name in (path, f"{path}:/t00000/s00/0/cells"):
        volume = open_volume(name, voxel_size=(1, 1, 1))
        assert volume.dtype == np.uint16
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK)
        np.testing.assert_array_equal(volume.read(Box((1, 2, 3), (3, 4, 5)))[0], STACK[1:3, 2:4, 3:5])
    for kind in ("u1", "f4", "u2", ">i2"):
        array = STACK.view(np.int16).astype(kind)
        volume = open_volume(bdv(tmp_path / f"{kind[-2:]}.h5", array), voxel_size=(1, 1, 1))
        assert volume.dtype == np.dtype("u2" if kind == ">i2" else kind)
        expected = STACK if kind == ">i2" else array
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], expected)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["raw"] = STACK.view(np.int16)
    assert open_volume(tmp_path / "b.h5", voxel_size=(1, 1, 1)).dtype == np.int16, "elsewhere it is what it says"
