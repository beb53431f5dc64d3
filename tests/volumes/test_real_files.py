"""Images of other programs, as installed packages and a `shared` folder beside the clone carry them, voxel by voxel.

The other reader is tifffile or Pillow. What vol2vol refuses has to be refused in a line; nothing may differ.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from vol2vol.errors import UserError
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
MOST = 16 << 20
"""Bytes of the largest file that is compared."""


def files():
    """Return the images of installed packages and of the shared folder."""
    packages = Path(sysconfig.get_paths()["purelib"])
    shared = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    candidates = [p for name in ("skimage", "sklearn") for p in (packages / name).rglob("*")]
    candidates += list(shared.rglob("*")) if shared.is_dir() else []
    return sorted(p for p in candidates if p.suffix.lower() in SUFFIXES and p.stat().st_size <= MOST)


def other(path):
    """Return the voxels by another reader."""
    if path.suffix.lower() in (".tif", ".tiff"):
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA", "LA") else image)


def compare(path):
    """Return "equal" or the reason of a refusal; fail where voxels differ."""
    stated = {"voxel_size": (1, 1, 1)}
    try:
        with open_volume(path) as volume:
            voxels = volume.read(Box.of(volume.spatial))
    except UserError:
        try:
            with open_volume(path, **stated) as volume:
                voxels = volume.read(Box.of(volume.spatial))
        except UserError as error:
            return str(error).replace(str(path.parent), "...")
    expected = np.asarray(other(path)).squeeze()
    if expected.shape[-1:] == voxels.shape[:1] and expected.ndim >= 3 and voxels.shape[0] in (3, 4):
        expected = np.moveaxis(expected, -1, 0)
    if voxels.ndim == 4 and expected.shape[:2] == voxels.shape[1::-1]:
        expected = expected.swapaxes(0, 1)  # pages of separate colours
    if (voxels.dtype, expected.dtype) == (np.uint16, np.uint8):
        voxels = voxels >> 8  # Pillow keeps the upper byte of colours of 16 bits
    np.testing.assert_array_equal(voxels.squeeze(), expected, err_msg=str(path))
    return "equal"


@pytest.mark.slow
def test_voxels_of_real_files_are_those_of_another_reader():
    paths = files()
    if len(paths) < 12:
        pytest.skip("fewer than a dozen images lie in installed packages")
    results = {str(path): compare(path) for path in paths}
    assert sum(result == "equal" for result in results.values()) >= len(paths) // 2, results
    assert all("\n" not in result for result in results.values())
