"""The place of a volume: `open_volume` reads what `create_volume` wrote, on every level."""

import numpy as np
import pytest

from vol2vol import create_volume, open_volume
from vol2vol.geometry import Box
from vol2vol.volumes import build_pyramid

SIZE, PLACE = (40.0, 8.0, 4.0), (4000.0, -1600.0, 0.5)


def _written(path, **how):
    volume = create_volume(
        path, shape=(2, 4, 32, 40), dtype="u1", voxel_size=SIZE, unit="nm", offset=PLACE, chunks=(4, 16, 16), **how
    )
    with volume:
        box = Box.of(volume.spatial)
        volume.write(box, np.zeros((2, *box.shape), np.uint8))
        volume.set_attrs({"note": "kept"})


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_the_place_of_an_image_is_stored_on_every_level(tmp_path, version):
    path = str(tmp_path / "made.zarr")
    _written(path, version=version)
    assert build_pyramid(path) > 1
    for level in range(3):
        with open_volume(path, level=level) as volume:
            assert volume.unit == "nanometer"
            half = [(a - b) / 2 for a, b in zip(volume.voxel_size, SIZE, strict=True)]
            assert np.allclose(volume.offset, np.add(PLACE, half), rtol=0, atol=1e-9)


def test_the_place_of_a_tiff_is_that_of_its_first_plane(tmp_path):
    path = str(tmp_path / "made.tif")
    _written(path)
    with open_volume(path) as volume:
        assert volume.offset == PLACE
        assert volume.attrs == {"note": "kept"}


def test_a_volume_without_a_place_lies_at_zero(tmp_path):
    for name in ("made.zarr", "made.tif"):
        with create_volume(tmp_path / name, shape=(1, 2, 3, 4), dtype="u1", voxel_size=(1, 1, 1), unit="um") as volume:
            assert volume.offset == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("place", [None, (3.0, 4.0, 5.5)])
def test_levels_of_unknown_voxel_size_lie_where_their_voxels_are_averaged(tmp_path, version, place):
    """In its own voxels, each of which covers 2**n of the finest; the same holds once they are given a size."""
    path = str(tmp_path / "made.zarr")
    how = {"shape": (1, 33, 40, 64), "dtype": "u1", "chunks": (8, 8, 8), "version": version, "offset": place}
    with create_volume(path, voxel_size=(1, 1, 1), unit="", **how) as volume:
        volume.write(Box.of(volume.spatial), np.zeros(volume.shape, np.uint8))
    assert build_pyramid(path) == 4
    for level in range(4):
        scale = 2.0**level
        first = np.add(place or (0.0, 0.0, 0.0), (scale - 1) / 2)
        with open_volume(path, level=level) as volume:
            assert (volume.sized, volume.voxel_size) == (False, (1.0, 1.0, 1.0))
            assert np.allclose(volume.offset, first / scale, rtol=0, atol=1e-9)
        with open_volume(path, level=level, voxel_size=(5 * scale,) * 3, unit="nm") as volume:
            assert np.allclose(volume.offset, 5 * first, rtol=0, atol=1e-9)
