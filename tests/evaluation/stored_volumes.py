"""Stored volumes of known content, and what `vol2vol evaluate` answers about them."""

import json

import numpy as np
import pytest
from tests.plans.made_records import layout, record

from vol2vol.cli import main
from vol2vol.geometry import Box, Footprint
from vol2vol.volumes import create_volume


def store(path, array, attrs=None):
    volume = create_volume(
        path, shape=(1, *array.shape), dtype=array.dtype, voxel_size=(8, 8, 8), unit="nanometer", attrs=attrs or {}
    )
    volume.write(Box.of(array.shape), array[None])
    volume.flush()
    return path


def texture(shape=(48, 64, 80), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(128, 20, shape).astype(np.float32)


def steps(shape, size, height):
    """Return a tone per tile of a 3D checkerboard."""
    tiles = np.indices(shape) // size
    return np.where(tiles.sum(0) % 2, height, 0).astype(np.float32)


def answer(capsys, *words):
    capsys.readouterr()
    code = main(["evaluate", *map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def refused(capsys, *words):
    capsys.readouterr()
    code = main(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


def foot(dims):
    def same(n):
        return (n,) * dims

    return Footprint(reach=(same(2), same(2)), period=same(4), residue=same(0), minimum=same(8), trim=(same(0),) * 2)


def tiling(plans, *, spatial, start=(0, 0, 0), planes=None):
    return record(layout(plans, spatial, region=Box(start, spatial), planes=planes)).attributes()
