"""Zarr, OME-Zarr and N5 of other programs."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import tensorstore as ts
import zarr

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

ARRAY = np.random.default_rng(1).integers(0, 60000, (11, 13, 17), np.uint16)
WHOLE = Box.of(ARRAY.shape)


def put(path, array=ARRAY, **options):
    options = {"chunks": (4, 5, 6)[-array.ndim :] if array.ndim <= 3 else (1, *(4, 5, 6)), **options}
    stored = zarr.create_array(path, shape=array.shape, dtype=array.dtype, overwrite=True, **options)
    stored[...] = array
    return stored


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2},
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"zarr_format": 2, "order": "F"},
        {"zarr_format": 2, "compressors": None},
        {"zarr_format": 3},
        {"zarr_format": 3, "chunks": (2, 5, 4), "shards": (4, 10, 8)},
        {"zarr_format": 3, "dimension_names": ("z", "y", "x")},
    ],
)
@pytest.mark.parametrize("name", ["a.zarr", "ein Ordner/größe ß.zarr", "no_suffix"])
def test_plain_arrays(tmp_path, options, name):
    put(tmp_path / name, **options)
    volume = open_volume(tmp_path / name, voxel_size=(4, 2, 2), unit="nm")
    assert (volume.shape, volume.dtype, volume.unit) == ((1, 11, 13, 17), np.uint16, "nanometer")
    assert volume.chunks == (1, *options.get("chunks", (4, 5, 6)))
    np.testing.assert_array_equal(volume.read(WHOLE)[0], ARRAY)
    np.testing.assert_array_equal(volume.read(Box((3, 0, 5), (4, 13, 16)))[0], ARRAY[3:4, :, 5:16])


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<f4", ">f4", "<f8", "u4", "i4", "u8"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dtypes_and_byte_orders(tmp_path, dtype, zarr_format):
    array = (ARRAY - 100.0).astype(dtype) if dtype[-2:] != "u1" else ARRAY.astype("u1")
    if zarr_format == 3:
        array = array.astype(array.dtype.newbyteorder("="))
    put(tmp_path / "a.zarr", array, zarr_format=zarr_format)
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    block = volume.read(WHOLE)
    assert block.dtype == volume.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(block[0], array)


def test_dimension_names_give_the_axes(tmp_path):
    put(tmp_path / "a.zarr", ARRAY.transpose(2, 1, 0), dimension_names=("x", "y", "z"))
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(volume.read(WHOLE)[0], ARRAY)
    with pytest.raises(BadInput, match="`axes`"):
        open_volume(tmp_path / "a.zarr", axes="zyx", voxel_size=(1, 1, 1))


def ome(path, version, axes, *, scale, unit="nanometer", whole=None):
    """Write a two-level OME-Zarr with zarr-python alone."""
    shape = [{"t": 1, "c": 2, "z": 11, "y": 13, "x": 17}[a] for a in axes]
    array = np.random.default_rng(2).integers(0, 255, shape, np.uint8)
    kinds = {"t": "time", "c": "channel"}
    listed = [{"name": a, "type": kinds.get(a, "space"), **({"unit": unit} if a in "zyx" else {})} for a in axes]
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for level, factor in enumerate((1, 2)):
        level_scale = [scale[a] * factor if a in "zyx" else 1.0 for a in axes]
        step = tuple(slice(None, None, factor if a in "zyx" else 1) for a in axes)
        group.create_array(f"s{level}", shape=array[step].shape, dtype="u1", chunks=(1,) * (len(axes) - 2) + (8, 8))[
            ...
        ] = array[step]
        steps = [{"type": "scale", "scale": level_scale}]
        datasets.append({"path": f"s{level}", "coordinateTransformations": steps})
    image = {"axes": listed, "datasets": datasets, "name": "x"}
    if whole:
        image["coordinateTransformations"] = [{"type": "scale", "scale": [whole] * len(axes)}]
    meta = {"ome": {"version": "0.5", "multiscales": [image]}} if version == "0.5" else {
        "multiscales": [{"version": "0.4", **image}]
    }  # fmt: skip
    group.attrs.update({**meta, "author": "someone"})
    return array


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "czyx", "zyx", "cyx", "yx"])
def test_ome_zarr_groups_and_levels(tmp_path, version, axes):
    path = tmp_path / "a.zarr"
    array = ome(path, version, axes, scale={"z": 40.0, "y": 4.0, "x": 4.5})
    expected = array[0] if axes[0] == "t" else array
    expected = expected.reshape(2 if "c" in axes else 1, 11 if "z" in axes else 1, 13, 17)
    volume = open_volume(path)
    assert volume.shape == expected.shape
    assert volume.is_2d == ("z" not in axes)
    assert volume.voxel_size == (40.0 if "z" in axes else 1.0, 4.0, 4.5)
    assert (volume.unit, volume.attrs) == ("nanometer", {"author": "someone"})
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), expected)
    coarse = open_volume(path, level=1)
    inside = open_volume(path / "s1")
    assert coarse.voxel_size == inside.voxel_size == (80.0 if "z" in axes else 1.0, 8.0, 9.0)
    assert coarse.shape == inside.shape == (expected.shape[0], -(-expected.shape[1] // 2), 7, 9)
    assert volume.describe()["format"] == f"OME-Zarr {version}"
    assert [level["path"] for level in volume.describe()["levels"]] == ["s0", "s1"]
    json.dumps(volume.describe())
    with pytest.raises(BadInput, match="no level 2: choose 0 to 1"):
        open_volume(path, level=2)


def test_the_scale_of_the_image_multiplies_that_of_the_level(tmp_path):
    ome(tmp_path / "a.zarr", "0.4", "zyx", scale={"z": 2.0, "y": 2.0, "x": 2.0}, unit="micrometer", whole=0.25)
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.voxel_size, volume.unit) == ((0.5, 0.5, 0.5), "micrometer")


def test_scale_one_without_unit_gives_way_to_the_user(tmp_path):
    ome(tmp_path / "a.zarr", "0.5", "zyx", scale={"z": 1.0, "y": 1.0, "x": 1.0}, unit="")
    assert open_volume(tmp_path / "a.zarr").voxel_size == (1, 1, 1)
    assert open_volume(tmp_path / "a.zarr", voxel_size=(40, 4, 4), unit="nm").voxel_size == (40, 4, 4)
    assert open_volume(tmp_path / "a.zarr", voxel_size=(40, 4, 4)).unit == ""


def test_contradicting_the_metadata_names_both_and_the_flag(tmp_path):
    ome(tmp_path / "a.zarr", "0.5", "zyx", scale={"z": 40.0, "y": 4.0, "x": 4.0})
    with pytest.raises(BadInput, match=r"is 40,4,4, not 4,4,4: give `voxel_size` 40,4,4"):
        open_volume(tmp_path / "a.zarr", voxel_size=(4, 4, 4))


def test_time_points_are_an_error_with_the_cure(tmp_path):
    put(tmp_path / "a.zarr", np.zeros((3, 8, 9), np.uint8), dimension_names=("t", "y", "x"))
    with pytest.raises(BadInput, match=r"has 3 time points: .*`axes`"):
        open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    assert open_volume(tmp_path / "a.zarr", axes="zyx", voxel_size=(1, 1, 1)).spatial == (3, 8, 9)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_group_with_one_array_is_that_array(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    zarr.open_group(path, mode="w", zarr_format=zarr_format).create_group("volumes")
    put(path / "volumes" / "raw", zarr_format=zarr_format)
    np.testing.assert_array_equal(open_volume(path, voxel_size=(1, 1, 1)).read(WHOLE)[0], ARRAY)
    put(path / "volumes" / "labels", zarr_format=zarr_format)
    with pytest.raises(BadInput, match="holds the arrays volumes/labels, volumes/raw: name one"):
        open_volume(path, voxel_size=(1, 1, 1))


def test_damage_is_named(tmp_path):
    stored = put(tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    with pytest.raises(Unreadable, match=r"a\.zarr: box 0:4, 0:5, 0:6 cannot be read .*restore"):
        volume.read(Box((0, 0, 0), (4, 5, 6)))
    np.testing.assert_array_equal(volume.read(Box((4, 5, 6), (11, 13, 17)))[0], stored[4:, 5:, 6:])
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(Unreadable, match="not valid JSON"):
        open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    (tmp_path / "a.zarr" / "zarr.json").write_text('{"node_type": "array", "shape": [3]}')
    with pytest.raises(Unreadable):
        open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"datasets": []},
        {"datasets": [{}]},
        {"datasets": "0"},
        {"datasets": [{"path": "s0", "coordinateTransformations": "scale"}]},
        {"datasets": [{"path": "s0", "coordinateTransformations": [3]}]},
        {"datasets": [{"path": "s0"}], "axes": [1, 2, 3]},
        {"datasets": [{"path": 7}]},
        "image",
        None,
    ],
)
def test_metadata_that_make_no_sense_are_one_line(tmp_path, image):
    ome(tmp_path / "a.zarr", "0.5", "zyx", scale={"z": 40.0, "y": 4.0, "x": 4.0})
    meta = json.loads((tmp_path / "a.zarr/zarr.json").read_text())
    meta["attributes"]["ome"]["multiscales"] = [image]
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(meta))
    with pytest.raises((Unreadable, BadInput), match=r"a\.zarr"):
        open_volume(tmp_path / "a.zarr")
    try:
        level = open_volume(tmp_path / "a.zarr/s0")
    except (Unreadable, BadInput) as error:
        assert "a.zarr" in str(error)  # noqa: PT017
    else:
        assert not level.sized


def test_a_missing_level_is_named(tmp_path):
    ome(tmp_path / "a.zarr", "0.5", "zyx", scale={"z": 40.0, "y": 4.0, "x": 4.0})
    (tmp_path / "a.zarr" / "s1" / "zarr.json").unlink()
    with pytest.raises(Unreadable, match="names a level 's1' that does not exist"):
        open_volume(tmp_path / "a.zarr", level=1)


def test_missing_paths_suggest_near_ones(tmp_path):
    put(tmp_path / "cells.zarr")
    with pytest.raises(NotFound, match=r"cels\.zarr does not exist: did you mean cells\.zarr"):
        open_volume(tmp_path / "cels.zarr")
    with pytest.raises(NotFound, match="check the path"):
        open_volume(tmp_path / "no" / "such" / "place")


PEAK = """
import sys
import numpy as np, psutil
from vol2vol.geometry import Box, grid
from vol2vol.volumes import create_volume, open_volume
path, side = sys.argv[1], int(sys.argv[2])
volume = create_volume(path, shape=(1, side, side, side), dtype="u1", voxel_size=(1, 1, 1), unit="nm",
                       chunks=(32, 32, 32), shards=(128, 128, 128))
rng = np.random.default_rng(0)
for box in grid(Box.of(volume.spatial), (128, 128, 128)):
    volume.write(box, rng.integers(0, 255, (1, *box.shape), np.uint8))
volume = open_volume(path)
for box in grid(Box.of(volume.spatial), (100, 100, 100)):
    volume.read_padded(box.grow((9, 9, 9), (9, 9, 9)))
volume.fingerprint()
info = psutil.Process().memory_info()
try:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
except ImportError:
    print(info.peak_wset)
"""


def test_memory_does_not_grow_with_the_volume(tmp_path):
    def peak(side):
        command = [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path / f"{side}.zarr"), str(side)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    small, large = peak(256), peak(512)
    assert large - small < 64 << 20, (small, large)  # 112 MiB more voxels; the cache takes up to 64


def test_a_box_of_a_huge_sparse_volume_opens(tmp_path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "a.zarr") + "/"}, "create": True}
    grid = {"name": "regular", "configuration": {"chunk_shape": [64, 64, 64]}}
    metadata = {"shape": [10**5] * 3, "data_type": "uint8", "chunk_grid": grid}
    ts.open({**spec, "metadata": metadata}).result()[640:704, 640:704, 640:704] = 7
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    assert volume.read(Box((640,) * 3, (740,) * 3)).sum() == 7 * 64**3
    assert volume.fingerprint()


def n5(path, attributes, array=ARRAY):
    """Write N5 by hand, one gzip chunk, following the specification: big-endian, x fastest."""
    path.mkdir(parents=True)
    dims = list(array.shape[::-1])
    meta = {"dimensions": dims, "blockSize": dims, "dataType": "uint16", "compression": {"type": "gzip"}}
    (path / "attributes.json").write_text(json.dumps({**meta, **attributes}))
    chunk = path.joinpath(*["0"] * array.ndim)
    chunk.parent.mkdir(parents=True)
    header = struct.pack(f">2H{array.ndim}I", 0, array.ndim, *dims)
    chunk.write_bytes(header + gzip.compress(array.astype(">u2").tobytes()))


@pytest.mark.parametrize(
    ("attributes", "unit"),
    [
        ({"resolution": [4, 4, 40], "units": ["nm", "nm", "nm"], "axes": ["x", "y", "z"]}, "nanometer"),
        ({"resolution": [4, 4, 40]}, ""),
        ({"resolution": [4, 4, 40], "axes": ["z", "y", "x"]}, ""),
        ({"pixelResolution": {"dimensions": [4, 4, 40], "unit": "nm"}}, "nanometer"),
        ({"pixelResolution": [2, 2, 40], "downsamplingFactors": [2, 2, 1]}, ""),
        (
            {
                "transform": {"axes": ["z", "y", "x"], "scale": [40, 4, 4], "units": ["nm"] * 3},
                "pixelResolution": {"dimensions": [1, 1, 1], "unit": "nm"},
            },
            "nanometer",
        ),
    ],
)
def test_n5_dialects(tmp_path, attributes, unit):
    n5(tmp_path / "a.n5" / "volumes" / "raw", attributes)
    for name in ("a.n5/volumes/raw", "a.n5"):
        volume = open_volume(tmp_path / name)
        assert (volume.voxel_size, volume.unit) == ((40, 4, 4), unit)
        np.testing.assert_array_equal(volume.read(WHOLE)[0], ARRAY)
    assert volume.describe()["format"] == "N5"


def test_n5_scales_and_group_resolution(tmp_path):
    group = tmp_path / "a.n5" / "raw"
    n5(group / "s0", {})
    n5(group / "s1", {"downsamplingFactors": [2, 2, 1]}, ARRAY[:, ::2, ::2])
    (group / "attributes.json").write_text(json.dumps({"pixelResolution": {"dimensions": [4, 4, 40], "unit": "nm"}}))
    assert open_volume(group).voxel_size == (40, 4, 4)
    coarse = open_volume(group, level=1)
    assert (coarse.voxel_size, coarse.spatial) == ((40, 8, 8), (11, 7, 9))


def test_n5_written_by_tensorstore_with_channels(tmp_path):
    metadata = {"dimensions": [17, 13, 11, 2], "blockSize": [8, 8, 8, 1], "dataType": "int16",
                "compression": {"type": "blosc", "cname": "lz4", "clevel": 1, "shuffle": 1}}  # fmt: skip
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{tmp_path}/a.n5/x/"}, "metadata": metadata}
    stack = np.random.default_rng(0).integers(-999, 999, (2, 11, 13, 17)).astype("i2")
    ts.open({**spec, "create": True}).result()[...] = stack.T
    with pytest.raises(BadInput, match=r"names only some of its axes \(xy\?\?\) .* such as `axes` xyzc"):
        open_volume(tmp_path / "a.n5" / "x", voxel_size=(1, 1, 1))
    volume = open_volume(tmp_path / "a.n5" / "x", axes="xyzc", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(volume.read(WHOLE), stack)
