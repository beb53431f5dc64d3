"""The folder of stored volumes that tests of evaluation share."""

import numpy as np
import pytest
from tests.evaluation.stored_volumes import steps, store, texture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with space")
    clean = texture()
    store(folder / "clean.zarr", clean)
    store(folder / "seamed.zarr", clean + steps(clean.shape, 16, 40))
    store(folder / "mask.zarr", (clean > 140).astype(np.uint8))
    store(folder / "empty.zarr", np.zeros(clean.shape, np.uint8))
    store(folder / "chance.zarr", np.clip((clean - 80) / 120, 0, 1))
    store(folder / "small.zarr", clean[:20])
    return folder
