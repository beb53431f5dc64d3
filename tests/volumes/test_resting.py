"""Resting volumes keep no file open: they read the same voxels, can be pickled, and notice a changed file."""

import os
import pickle

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from vol2vol.errors import Unreadable, UserError
from vol2vol.geometry import Box
from vol2vol.recipes import domains
from vol2vol.recipes.domains import open_domain
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.resting import RestingVolume

ARRAY = np.random.default_rng(0).integers(0, 4000, (5, 17, 13), np.uint16)


def write(folder, name):
    """Write `ARRAY`, or its first plane, and return its path and what a reader will see."""
    path = folder / name
    if name.endswith("zarr"):
        with create_volume(path, shape=(1, *ARRAY.shape), dtype="uint16", voxel_size=(8, 4, 4), unit="nm") as volume:
            volume.write(Box.of(volume.spatial), ARRAY[None])
    elif name.endswith("h5"):
        with h5py.File(path, "w") as file:
            file["raw"] = ARRAY
    elif name.endswith("mrc"):
        with mrcfile.new(path) as file:
            file.set_data(ARRAY)
    elif name.endswith("png"):
        Image.fromarray((ARRAY[0] >> 4).astype(np.uint8)).save(path)
        return path, (ARRAY[:1] >> 4).astype(np.uint8)
    else:
        packed = {"compression": "zlib"} if "zip" in name else {}
        tifffile.imwrite(path, ARRAY, photometric="minisblack", **packed)
    return path, ARRAY


NAMES = ("a.zarr", "a.h5", "a.mrc", "a.png", "plain.tif", "zip.tif")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_volume_without_its_file(tmp_path, name):
    path, array = write(tmp_path, name)
    known = open_volume(path)
    facts, fingerprint = known.describe(), known.fingerprint()
    resting = RestingVolume(open_volume(path))
    for volume in (resting, pickle.loads(pickle.dumps(resting)), pickle.loads(pickle.dumps(known))):
        assert volume.describe() | {"attrs": []} == facts | {"attrs": []}
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], array)
        box = Box((0, 3, 2), (1, 16, 9))
        np.testing.assert_array_equal(volume.read(box)[0], array[:1, 3:16, 2:9])
        assert volume.fingerprint() == fingerprint
    assert isinstance(pickle.loads(pickle.dumps(resting)), RestingVolume)
    with pytest.raises(UserError, match="cannot be written to"):
        resting.write(Box.of(resting.spatial), array[None])
    resting.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted where /proc shows them")
@pytest.mark.parametrize("name", ["a.h5", "a.mrc", "plain.tif", "zip.tif"])
def test_many_volumes_hold_no_files(tmp_path, name, monkeypatch):
    monkeypatch.setattr(domains, "MOST_OPEN", 3)
    path, array = write(tmp_path, name)
    before = len(os.listdir("/proc/self/fd"))
    volumes = open_domain([path] * 20)
    for volume in volumes:
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], array)
    assert len(os.listdir("/proc/self/fd")) - before <= 3
    assert all(isinstance(volume, RestingVolume) for volume in volumes)
    assert not any(isinstance(volume, RestingVolume) for volume in open_domain([path] * 3))
    monkeypatch.setattr(domains, "SMALL", array.size - 1)
    assert not any(isinstance(volume, RestingVolume) for volume in open_domain([path] * 4))


def test_a_file_that_changed_is_named(tmp_path):
    path, _ = write(tmp_path, "a.tif")
    resting = RestingVolume(open_volume(path))
    tifffile.imwrite(path, ARRAY[:3], photometric="minisblack")
    with pytest.raises(Unreadable, match=r"a\.tif has changed since it was opened"):
        resting.read(Box((0, 0, 0), (1, 2, 2)))
    path.unlink()
    with pytest.raises(UserError, match=r"a\.tif does not exist"):
        resting.read(Box((0, 0, 0), (1, 2, 2)))
