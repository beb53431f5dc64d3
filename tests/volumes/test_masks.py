"""Training, preparation and evaluation read the same foreground voxels of a mask, or refuse it alike."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.metrics.objects.instances import instances_of
from vol2vol.metrics.objects.overlap import curve, scores_at
from vol2vol.preparation import Binarise, Preparation
from vol2vol.preparation.preparing import prepare_volume
from vol2vol.protocol import Need
from vol2vol.sampling.aligned import AS_IT_IS, Aligned
from vol2vol.volumes import open_volume
from vol2vol.volumes.masks import foreground

SHAPE = (4, 6, 8)
TRUE = np.random.default_rng(2).random(SHAPE) < 0.3
WHOLE = Box.of(SHAPE)
UM = {"voxel_size": (1, 1, 1), "unit": "um"}


def store(path, array):
    with h5py.File(path, "w") as file:
        file["raw"] = array
    return open_volume(path, **UM)


def trained(mask, tmp_path):
    image = store(tmp_path / "image.h5", np.zeros(SHAPE, np.uint8))
    needs = [Need(name="image"), Need(name="mask", kind="mask")]
    return Aligned(needs, {"image": image, "mask": mask}, {"image": AS_IT_IS}).read(WHOLE)[1]


def prepared(mask, tmp_path):
    prepare_volume(mask.path, tmp_path / "out.zarr", Preparation(steps=(Binarise(),)), overwrite=True, **UM)
    return open_volume(tmp_path / "out.zarr").read(WHOLE)[0]


def judged(mask, tmp_path):
    perfect = store(tmp_path / "perfect.h5", TRUE.astype(np.uint8))
    assert scores_at(perfect, mask, 0.5)["dice"].value == 1
    counts = curve(perfect, mask).counts.sum(axis=0)
    assert counts[1].sum() == TRUE.sum()
    return TRUE


def counted(mask, tmp_path):
    return instances_of(mask, [WHOLE], threshold=None)(WHOLE) > 0


DOORS = [trained, prepared, judged, counted]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("kind", "value"),
    [("u1", 1), ("u1", 255), ("bool", True), ("i2", 7), ("u4", 70000), ("f4", 1), ("f8", 255), ("i8", 1), ("f4", 3)],
)
def test_all_doors_find_the_same_foreground(tmp_path, door, kind, value):
    mask = store(tmp_path / "mask.h5", np.where(TRUE, value, 0).astype(kind))
    np.testing.assert_array_equal(door(mask, tmp_path), TRUE)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("kind", "value"),
    [("i2", -1), ("i1", -127), ("f4", -1), ("f4", 0.5), ("f4", 1e-7), ("f8", 1.5)],
)
def test_all_doors_refuse_what_no_mask_holds(tmp_path, door, kind, value):
    array = TRUE.astype(kind)
    array[1, 2, 3] = value
    mask = store(tmp_path / "mask.h5", array)
    with pytest.raises(BadInput, match=r"holds .*, but a mask holds whole numbers from 0 on.*`above` VALUE or `ids`"):
        door(mask, tmp_path)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_all_doors_refuse_what_is_no_number(tmp_path, door, value):
    array = TRUE.astype("f4")
    array[1, 2, 3] = value
    with pytest.raises(BadInput, match=r"a number"):
        door(store(tmp_path / "mask.h5", array), tmp_path)


def test_the_cure_makes_a_mask(tmp_path):
    mask = store(tmp_path / "mask.h5", np.where(TRUE, 0.9, 0.1).astype("f4"))
    for step in (Binarise(above=0.5),):
        prepare_volume(mask.path, tmp_path / "out.zarr", Preparation(steps=(step,)), **UM)
    np.testing.assert_array_equal(trained(open_volume(tmp_path / "out.zarr"), tmp_path), TRUE)
    ignored = store(tmp_path / "ignored.h5", np.where(TRUE, 4, -1).astype("i4"))
    prepare_volume(ignored.path, tmp_path / "ids.zarr", Preparation(steps=(Binarise(ids=(4,)),)), **UM)
    np.testing.assert_array_equal(trained(open_volume(tmp_path / "ids.zarr"), tmp_path), TRUE)


def test_shape_and_emptiness():
    assert foreground(np.zeros((0, 3), "i2"), "it").shape == (0, 3)
    assert foreground(np.zeros((0, 3), "f4"), "it").shape == (0, 3)
    assert foreground(np.array([0, 2], "u1"), "it").tolist() == [False, True]
