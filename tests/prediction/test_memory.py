"""When the memory runs out, exact prediction goes on in smaller tiles and changes no voxel by more than rounding."""

import logging

import numpy as np
import pytest
import torch
from tests.prediction.conftest import write_volume

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.nets.stream import Stream
from vol2vol.prediction import PredictSettings, predict
from vol2vol.volumes import open_volume


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A smaller one than elsewhere, for many small tiles are slow."""
    array = np.random.default_rng(0).integers(0, 256, (9, 41, 45), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("volumes") / "in.zarr", array)


def read(path):
    volume = open_volume(path)
    return volume.read(Box.of(volume.spatial))


def limit(monkeypatch, side, error):
    """Let streams fail on larger inputs, in the midst of a push."""

    def limited(called):
        def call(self, planes):
            made = called(self, planes)
            if max(planes.shape[2:]) > side:
                raise error
            return made

        return call

    for name in ("push", "whole"):
        if hasattr(Stream, name):
            monkeypatch.setattr(Stream, name, limited(getattr(Stream, name)))


@pytest.mark.parametrize(
    ("dims", "assembly", "error"),
    [
        (3, "volume", torch.OutOfMemoryError("CUDA out of memory")),
        (2, "slices", RuntimeError("DefaultCPUAllocator: can't allocate memory: you")),
        (2, "ortho", MemoryError("no")),
    ],
)
def test_smaller_tiles_give_the_same_voxels(dims, assembly, error, models, volume, tmp_path, monkeypatch, caplog):
    settings = PredictSettings(raw=True, assembly=assembly)
    predict(models[dims], volume, tmp_path / "plenty.zarr", settings)
    limit(monkeypatch, 34, error)
    with caplog.at_level(logging.WARNING):
        predict(models[dims], volume, tmp_path / "little.zarr", settings)
    assert "memory ran out" in caplog.text
    np.testing.assert_allclose(read(tmp_path / "little.zarr"), read(tmp_path / "plenty.zarr"), atol=2e-6)


def test_where_nothing_fits_the_smallest_tile_is_named(models, volume, tmp_path, monkeypatch):
    limit(monkeypatch, 0, MemoryError("no"))
    with pytest.raises(BadInput, match=r"smallest tile, \(18, 18, 18\)"):
        predict(models[3], volume, tmp_path / "out.zarr", PredictSettings())


def test_other_failures_are_not_taken_for_it(models, volume, tmp_path, monkeypatch):
    limit(monkeypatch, 0, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        predict(models[3], volume, tmp_path / "out.zarr", PredictSettings())


def test_tiles_that_matter_are_not_shrunk(models, volume, tmp_path, monkeypatch):
    limit(monkeypatch, 0, MemoryError("no"))
    with pytest.raises(BadInput, match="smaller `tile`"):
        predict(models[3], volume, tmp_path / "out.zarr", PredictSettings(strategy="disjoint"))
