from __future__ import annotations

import json

import h5py
import mrcfile
import numpy as np
import pytest

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume
from vol2vol.volumes.formats.hdf5 import NAME

STACK = np.random.default_rng(4).integers(-3000, 3000, (6, 11, 13)).astype(np.int16)
WHOLE = Box.of(STACK.shape)


@pytest.mark.parametrize(
    ("name", "file", "dataset"),
    [
        ("a.h5", "a.h5", None),
        ("a.h5:/raw", "a.h5", "/raw"),
        ("C:\\data\\a.h5:/raw", "C:\\data\\a.h5", "/raw"),
        ("C:\\data\\a.h5", "C:\\data\\a.h5", None),
        ("a b/ü.HDF5:/g/raw", "a b/ü.HDF5", "/g/raw"),
        ("a.h5:/copy.h5", "a.h5", "/copy.h5"),
        ("x.h5.d/a.h5:raw", "x.h5.d/a.h5", "raw"),
    ],
)
def test_names_of_files_and_arrays(name, file, dataset):
    assert (NAME.fullmatch(name)["file"], NAME.fullmatch(name)["dataset"]) == (file, dataset)


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 4, 4), "compression": "gzip"}, {"dtype": ">i2"}])
def test_hdf5_arrays(tmp_path, options):
    path = tmp_path / "ein ß.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("volumes/raw", data=STACK, **options).attrs["element_size_um"] = (0.04, 0.004, 0.004)
        file["table"] = np.arange(5)
    for name in (f"{path}:/volumes/raw", f"{path}:volumes/raw", str(path)):
        with open_volume(name) as volume:
            assert (volume.voxel_size, volume.unit) == ((0.04, 0.004, 0.004), "micrometer")
            np.testing.assert_array_equal(volume.read(WHOLE)[0], STACK)
            np.testing.assert_array_equal(volume.read(Box((1, 2, 3), (4, 9, 4)))[0], STACK[1:4, 2:9, 3:4])
    assert volume.path == f"{path}:/volumes/raw"


def test_hdf5_metadata_dialects(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        cremi = file.create_dataset("cremi", data=STACK)
        cremi.attrs["resolution"] = [40.0, 4.0, 4.0]
        channels = np.stack([STACK, STACK + 1])
        file.create_dataset("ilastik", data=channels.transpose(3, 2, 1, 0)).attrs["axistags"] = json.dumps(
            {"axes": [{"key": a} for a in "xyzc"]}
        )
        labelled = file.create_dataset("labelled", data=STACK[0])
        labelled.dims[0].label, labelled.dims[1].label = "x", "y"
        file["stack"] = channels
    assert open_volume(f"{path}:/cremi").voxel_size == (40, 4, 4)
    assert open_volume(f"{path}:/cremi").unit == "nanometer"
    ilastik = open_volume(f"{path}:/ilastik", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(ilastik.read(Box.of(ilastik.spatial)), channels)
    image = open_volume(f"{path}:/labelled", voxel_size=(1, 1))
    np.testing.assert_array_equal(image.read(Box.of(image.spatial))[0, 0], STACK[0].T)
    with pytest.raises(BadInput, match="`axes` czyx"):
        open_volume(f"{path}:/stack", voxel_size=(1, 1, 1))
    stack = open_volume(f"{path}:/stack", axes="CZYX", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(stack.read(Box.of(stack.spatial)), channels)


def test_hdf5_mistakes(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = STACK
        file["labels"] = STACK
    with pytest.raises(BadInput, match=r"holds the arrays /labels, /raw: name one, such as .*a\.h5:/labels"):
        open_volume(path)
    with pytest.raises(NotFound, match=r"has no array /row: it holds /labels, /raw"):
        open_volume(f"{path}:/row")
    assert not open_volume(f"{path}:/raw").sized
    with pytest.raises(NotFound, match=r"b\.h5 does not exist: did you mean a\.h5"):
        open_volume(tmp_path / "b.h5:/raw")
    (tmp_path / "c.h5").write_bytes(path.read_bytes()[:500])
    with pytest.raises(Unreadable, match=r"c\.h5 is not a readable HDF5 file"):
        open_volume(tmp_path / "c.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["words"] = np.array([[b"a", b"b"]])
    with pytest.raises(BadInput, match="array of numbers"):
        open_volume(tmp_path / "d.h5")


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f4"])
@pytest.mark.parametrize("suffix", [".mrc", ".map", ".rec"])
def test_mrc(tmp_path, dtype, suffix):
    array = STACK.astype(dtype)
    with mrcfile.new(tmp_path / f"a{suffix}") as file:
        file.set_data(array)
        file.set_volume()
        file.voxel_size = (10.9, 10.9, 21.8)
    with open_volume(tmp_path / f"a{suffix}") as volume:
        assert (volume.voxel_size, volume.unit) == ((21.8, 10.9, 10.9), "angstrom")
        assert volume.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(volume.read(WHOLE)[0], array)
    assert open_volume(tmp_path / f"a{suffix}", unit="nm", voxel_size=(2.18, 1.09, 1.09)).unit == "nanometer"


def test_mrc_images_and_missing_sizes(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(STACK[0])
    assert not open_volume(tmp_path / "a.mrc").sized
    image = open_volume(tmp_path / "a.mrc", voxel_size=(2, 2), unit="nm")
    assert (image.is_2d, image.shape) == (True, (1, 1, 11, 13))


def test_bytes_that_imod_wrote_are_unsigned(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.full((2, 3, 4), -56, np.int8))
        file.voxel_size = 1
    raw = bytearray((tmp_path / "a.mrc").read_bytes())
    raw[152:160] = np.array([1146047817, 0], "<i4").tobytes()
    (tmp_path / "a.mrc").write_bytes(raw)
    volume = open_volume(tmp_path / "a.mrc")
    assert volume.dtype == np.uint8
    assert (volume.read(Box.of(volume.spatial)) == 200).all()


def test_an_mrc_with_more_than_its_voxels_says_so(tmp_path, caplog, recwarn):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(STACK)
        file.voxel_size = 5
    with (tmp_path / "a.mrc").open("ab") as file:
        file.write(b"more")
    volume = open_volume(tmp_path / "a.mrc")
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK)
    assert "a.mrc is an odd MRC file: it has 4 bytes more than its header counts" in caplog.text
    assert not recwarn.list


def test_mrc_with_swapped_axes_and_damage(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(STACK)
        file.voxel_size = 5
        file.header.mapc, file.header.mapr, file.header.maps = 3, 2, 1
    volume = open_volume(tmp_path / "a.mrc")
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK.transpose(2, 1, 0))
    (tmp_path / "b.mrc").write_bytes((tmp_path / "a.mrc").read_bytes()[:-100])
    with pytest.raises(Unreadable, match=r"b\.mrc is not a readable MRC"):
        open_volume(tmp_path / "b.mrc")
