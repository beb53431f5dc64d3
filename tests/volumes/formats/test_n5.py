"""Metadata in N5 of Fiji, OpenOrganelle, BigDataViewer and Paintera, with known values."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

ARRAY = np.arange(2 * 5 * 7 * 11, dtype=np.uint16).reshape(2, 5, 7, 11)
XYZ = [2.0, 3.0, 4.0]


def write(path, array, attributes=None, *, group=None):
    """Write an N5 array with one gzip chunk; its dimensions are those of the C array the other way round."""
    path.mkdir(parents=True)
    dims = list(array.shape[::-1])
    meta = {"dimensions": dims, "blockSize": dims, "dataType": "uint16", "compression": {"type": "gzip"}}
    (path / "attributes.json").write_text(json.dumps({**meta, **(attributes or {})}))
    chunk = path.joinpath(*["0"] * array.ndim)
    chunk.parent.mkdir(parents=True)
    header = struct.pack(f">2H{array.ndim}I", 0, array.ndim, *dims)
    chunk.write_bytes(header + gzip.compress(array.astype(">u2").tobytes()))
    if group is not None:
        (path.parent / "attributes.json").write_text(json.dumps(group))


def assert_reads(path, *, array, size=(4, 3, 2), unit="micrometer", offset=(0, 0, 0), **stated):
    volume = open_volume(path, **stated)
    assert (volume.voxel_size, volume.unit, volume.offset) == (size, unit, offset)
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), array.reshape(volume.shape))
    return volume


FIJI = {"pixelWidth": 2.0, "pixelHeight": 3.0, "pixelDepth": 4.0, "pixelUnit": "um",
        "numChannels": 2, "numSlices": 5, "numFrames": 1, "xOrigin": 0.0}  # fmt: skip
PAINTERA = {"axes": list("xyzc"), "resolution": [*XYZ, 1], "offset": [20, 30, 40, 0], "units": ["um"] * 4}
FORTRAN = {"transform": {"axes": list("xyzc"), "scale": [*XYZ, 1], "units": ["um"] * 4, "order": "F"}}
COSEM = {"axes": ["c", "z", "y", "x"], "scale": [1, 4, 3, 2], "translate": [0, 40, 30, 20], "units": ["", *["um"] * 3]}


@pytest.mark.parametrize(
    ("attributes", "order", "offset"),
    [
        (FIJI, "zcyx", (0, 0, 0)),
        ({"transform": COSEM}, "czyx", (40, 30, 20)),
        (FORTRAN, "czyx", (0, 0, 0)),
        ({"axes": list("xyzc"), "pixelResolution": {"dimensions": XYZ, "unit": "um"}}, "czyx", (0, 0, 0)),
        ({"axes": list("czyx"), "pixelResolution": {"dimensions": XYZ, "unit": "um"}}, "czyx", (0, 0, 0)),
        ({"axes": ["X", "Y", "Channel", "Z"], "resolution": [2, 3, 1, 4], "units": ["um"] * 4}, "zcyx", (0, 0, 0)),
        (PAINTERA, "czyx", (40, 30, 20)),
    ],
    ids=["fiji", "cosem", "cosem F", "viewer", "viewer C", "fiji axes", "paintera"],
)  # fmt: skip
def test_dialects_that_name_channels(tmp_path, attributes, order, offset):
    write(tmp_path / "a.n5/raw", ARRAY.transpose(["czyx".index(a) for a in order]), attributes)
    volume = assert_reads(tmp_path / "a.n5/raw", array=ARRAY, offset=offset)
    assert volume.axes == order[::-1]
    with pytest.raises(BadInput, match=rf"says its axes are {order[::-1]}"):
        open_volume(tmp_path / "a.n5/raw", axes=order)


def test_lists_of_spatial_axes_and_a_single_unit_are_read(tmp_path):
    about = {"axes": list("xyzc"), "resolution": XYZ, "offset": [20, 30, 40], "units": "um"}
    write(tmp_path / "a.n5/raw", ARRAY, about)
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY, offset=(40, 30, 20))


def test_axes_in_no_known_order_are_asked(tmp_path):
    write(tmp_path / "a.n5/raw", ARRAY[0], {"axes": ["y", "x", "z"], "resolution": [1, 2, 3]})
    with pytest.raises(BadInput, match="`axes`"):
        open_volume(tmp_path / "a.n5/raw")


def test_five_axes_of_fiji_with_frames(tmp_path):
    frames = np.stack([ARRAY, ARRAY + 1]).transpose(0, 2, 1, 3, 4)  # t z c y x in C, x y c z t in N5
    write(tmp_path / "a.n5/raw", frames, {**FIJI, "numFrames": 2})
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY + 1, time=1)
    with pytest.raises(BadInput, match="2 time points"):
        open_volume(tmp_path / "a.n5/raw")


def test_levels_of_a_viewer_are_placed_half_a_voxel_further(tmp_path):
    group = {"pixelResolution": {"dimensions": XYZ, "unit": "um"}, "scales": [[1, 1, 1], [2, 2, 1]]}
    write(tmp_path / "a.n5/raw/s0", ARRAY[0], group=group)
    write(tmp_path / "a.n5/raw/s1", ARRAY[0, :, ::2, ::2])
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY[0])
    assert_reads(tmp_path / "a.n5", array=ARRAY[0])
    coarse = {"array": ARRAY[0, :, ::2, ::2], "size": (4, 6, 4), "offset": (0, 1.5, 1)}
    assert_reads(tmp_path / "a.n5/raw", level=1, **coarse)
    assert_reads(tmp_path / "a.n5/raw/s1", **coarse)


def test_a_coarser_level_without_its_factor_is_asked(tmp_path):
    write(tmp_path / "a.n5/raw/s0", ARRAY[0], group={"pixelResolution": {"dimensions": XYZ, "unit": "um"}})
    write(tmp_path / "a.n5/raw/s1", ARRAY[0, :, ::2, ::2])
    assert not open_volume(tmp_path / "a.n5/raw/s1").sized


def test_transforms_listed_by_the_group(tmp_path):
    transform = {key: value[1:] for key, value in COSEM.items()}
    group = {"multiscales": [{"datasets": [{"path": "s0", "transform": transform}]}]}
    write(tmp_path / "a.n5/raw/s0", ARRAY[0], group=group)
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY[0], offset=(40, 30, 20))


def test_ngff_inside_n5_lists_its_axes_in_the_order_of_c(tmp_path):
    steps = [{"type": "scale", "scale": [4, 3, 2]}, {"type": "translation", "translation": [40, 30, 20]}]
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    group = {"multiscales": [{"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": steps}]}]}
    write(tmp_path / "a.n5/raw/s0", ARRAY[0], group=group)
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY[0], offset=(40, 30, 20))


def test_statements_that_contradict_each_other_are_refused(tmp_path):
    plain = {key: value[1:] for key, value in COSEM.items()}
    both = {"transform": plain, "pixelResolution": {"dimensions": [2000, 3000, 4000], "unit": "nm"}}
    write(tmp_path / "a.n5/raw", ARRAY[0], both)
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY[0], offset=(40, 30, 20))
    both["pixelResolution"]["dimensions"] = [2000, 3000, 5000]
    write(tmp_path / "b.n5/raw", ARRAY[0], both)
    with pytest.raises(BadInput, match=r"z 4, .* by transform of the array, but z 5000, .* by pixelResolution of the"):
        open_volume(tmp_path / "b.n5/raw")
    write(tmp_path / "c.n5/raw", ARRAY[0], {"transform": plain, "axes": list("yxz")[::-1]})
    with pytest.raises(BadInput, match="axes are xyz by transform of the array, but zxy"):
        open_volume(tmp_path / "c.n5/raw")


def test_an_affine_transform_scales_and_shifts_or_is_refused(tmp_path):
    matrix = [2, 0, 0, 20, 0, 3, 0, 30, 0, 0, 4, 40]
    write(tmp_path / "a.n5/raw", ARRAY[0], {"affineTransform": matrix})
    assert_reads(tmp_path / "a.n5/raw", array=ARRAY[0], unit="", offset=(40, 30, 20))
    matrix[1] = 0.5
    write(tmp_path / "b.n5/raw", ARRAY[0], {"affineTransform": matrix})
    with pytest.raises(BadInput, match="affineTransform of the array rotates or shears"):
        open_volume(tmp_path / "b.n5/raw")
