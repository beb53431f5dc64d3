"""Choosing one of several time points."""

import numpy as np
import pytest
import tifffile
import zarr

from vol2vol import open_volume
from vol2vol.errors import BadInput
from vol2vol.geometry import Box

FRAMES = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 6), np.uint8)
STATED = {"voxel_size": (1, 1, 1), "unit": "um"}


def _movie(path):
    if path.endswith(".zarr"):
        array = zarr.open_array(
            path, mode="w", shape=FRAMES.shape, chunks=(1, 2, 5, 6), dtype="u1", dimension_names=list("tzyx")
        )
        array[:] = FRAMES
    else:
        tifffile.imwrite(path, FRAMES, ome=True, metadata={"axes": "TZYX"})
    return path


@pytest.mark.parametrize("name", ["movie.zarr", "movie.ome.tif"])
def test_a_time_point_is_a_volume_of_its_own(tmp_path, name):
    path, seen = _movie(str(tmp_path / name)), set()
    for time, frame in enumerate(FRAMES):
        with open_volume(path, time=time, **STATED) as volume:
            assert (volume.time, volume.time_points) == (time, 3)
            assert volume.shape == (1, 4, 5, 6)
            assert np.array_equal(volume.read(Box.of(volume.spatial))[0], frame)
            assert np.array_equal(volume.read(Box((1, 2, 3), (3, 4, 6)))[0], frame[1:3, 2:4, 3:6])
            seen.add(volume.fingerprint())
    assert len(seen) == 3


def test_a_time_point_has_to_be_one_of_those_there_are(tmp_path):
    path = _movie(str(tmp_path / "movie.zarr"))
    with pytest.raises(BadInput, match="has 3 time points: choose one with `time` 0 to `time` 2"):
        open_volume(path, **STATED)
    for wrong in (3, -1):
        with pytest.raises(BadInput, match=f"has 3 time points and no {wrong}: choose one with `time` 0 to `time` 2"):
            open_volume(path, time=wrong, **STATED)
    with pytest.raises(BadInput, match="leave out `time`"):
        open_volume(path, axes="czyx", time=1, **STATED)
