"""Imaris and BigDataViewer: one image in several arrays of a container, and its metadata."""

from __future__ import annotations

import gzip
import json
import struct

import h5py
import numpy as np
import pytest

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

ARRAY = np.random.default_rng(3).integers(1, 60000, (6, 20, 24), np.uint16)


def text(value):
    return np.frombuffer(str(value).encode(), "S1")


def write_ims(path, channels, *, times=1, levels=1, unit="um", sized=True):
    """Write what Imaris does: every level of every channel padded with zeros to whole chunks."""
    with h5py.File(path, "w") as file:
        for level in range(levels):
            for time in range(times):
                for number, array in enumerate(channels):
                    group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {number}")
                    inner = array[:, :: 2**level, :: 2**level] + np.uint16(time)
                    padded = np.zeros([-(-n // 16) * 16 for n in inner.shape], inner.dtype)
                    padded[tuple(map(slice, inner.shape))] = inner
                    group.create_dataset("Data", data=padded, chunks=(4, 16, 16), compression="gzip")
                    for axis, count in zip("ZYX", inner.shape, strict=True):
                        if sized:
                            group.attrs[f"ImageSize{axis}"] = text(count)
        about = file.create_group("DataSetInfo/Image").attrs
        z, y, x = channels[0].shape
        for key, value in {"X": x, "Y": y, "Z": z, "ExtMin0": 10, "ExtMax0": 10 + x * 0.5, "ExtMin1": 0,
                           "ExtMax1": y * 0.5, "ExtMin2": -3, "ExtMax2": -3 + 2 * z, "Unit": unit}.items():  # fmt: skip
            about[key] = text(value)
        file["Thumbnail/Data"] = np.zeros((8, 8), "u1")


def reads(volume, array):
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), array.reshape(volume.shape))
    part = Box((1, 3, 5), (4, 9, volume.spatial[2]))
    np.testing.assert_array_equal(volume.read(part), array.reshape(volume.shape)[(slice(None), *part.slices)])


def test_imaris_is_read_without_its_padding(tmp_path):
    write_ims(tmp_path / "a.ims", [ARRAY])
    for inner in ("", ":/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data", ":/DataSet/ResolutionLevel 0"):
        with open_volume(f"{tmp_path}/a.ims{inner}") as volume:
            assert (volume.shape, volume.voxel_size, volume.unit) == ((1, 6, 20, 24), (2, 0.5, 0.5), "micrometer")
            assert volume.offset == (-2, 0.25, 10.25)  # centres of voxels; extents are outer edges
            reads(volume, ARRAY)


def test_channels_time_points_and_levels_of_imaris(tmp_path):
    path = tmp_path / "a.ims"
    write_ims(path, [ARRAY, ARRAY + 7], times=3, levels=2)
    with pytest.raises(BadInput, match="3 time points: choose one with `time`"):
        open_volume(path)
    with open_volume(path, time=2) as volume:
        assert (volume.axes, volume.describe()["format"]) == ("tczyx", "Imaris")
        assert [level["voxel_size"] for level in volume.describe()["levels"]] == [[2, 0.5, 0.5], [2, 1, 1]]
        reads(volume, np.stack([ARRAY + 2, ARRAY + 9]))
    with open_volume(path, time=1, level=1) as volume:
        assert (volume.voxel_size, volume.offset) == ((2, 1, 1), (-2, 0.5, 10.5))
        reads(volume, np.stack([ARRAY + 1, ARRAY + 8])[:, :, ::2, ::2])
    with open_volume(f"{path}:/DataSet/ResolutionLevel 0/TimePoint 1/Channel 1") as volume:
        reads(volume, ARRAY + 8)
    with pytest.raises(BadInput, match="no resolution level 2: choose 0, 1"):
        open_volume(path, level=2)
    with pytest.raises(NotFound, match="no channel 5: choose 0, 1"):
        open_volume(f"{path}:/DataSet/ResolutionLevel 0/TimePoint 1/Channel 5")


def test_imaris_files_that_contradict_themselves(tmp_path):
    write_ims(tmp_path / "a.ims", [ARRAY, ARRAY[:, :10]])
    with pytest.raises(BadInput, match=r"channel 1 is \(6, 10, 24\).*channel 0 \(6, 20, 24\).*name one"):
        open_volume(tmp_path / "a.ims")
    write_ims(tmp_path / "b.ims", [ARRAY], sized=False)
    with pytest.raises(BadInput, match="does not state its ImageSizeX"):
        open_volume(tmp_path / "b.ims")
    write_ims(tmp_path / "c.ims", [ARRAY])
    with h5py.File(tmp_path / "c.ims", "r+") as file:
        file["DataSetInfo/Image"].attrs["X"] = text(25)
    with pytest.raises(BadInput, match=r"\(6, 20, 25\) by DataSetInfo, but \(6, 20, 24\) by its channels"):
        open_volume(tmp_path / "c.ims")
    with h5py.File(tmp_path / "c.ims", "r+") as file:
        file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"].attrs["ImageSizeX"] = text(99)
    with pytest.raises(Unreadable, match=r"should hold \(6, 20, 99\) voxels and has \(16, 32, 32\)"):
        open_volume(tmp_path / "c.ims")
    write_ims(tmp_path / "d.ims", [ARRAY], unit="")
    assert (open_volume(tmp_path / "d.ims").voxel_size, open_volume(tmp_path / "d.ims").unit) == ((2, 0.5, 0.5), "")


XML = """<?xml version="1.0"?><SpimData version="0.2"><BasePath type="relative">.</BasePath><SequenceDescription>
<ImageLoader format="{format}"><{tag} type="relative">{name}</{tag}></ImageLoader><ViewSetups>
<ViewSetup><id>0</id><size>24 20 6</size><voxelSize><unit>um</unit><size>0.5 0.5 2.0</size></voxelSize></ViewSetup>
<ViewSetup><id>1</id><size>24 20 6</size><voxelSize><unit>um</unit><size>0.5 0.5 4.0</size></voxelSize></ViewSetup>
</ViewSetups></SequenceDescription></SpimData>"""


def write_h5(path, views, *, levels=2):
    with h5py.File(path, "w") as file:
        for time, setup in views:
            for level in range(levels):
                name = f"t{time:05}/s{setup:02}/{level}/cells"
                file[name] = (ARRAY[:, :: 2**level, :: 2**level] // 2).astype(np.int16)
        for _, setup in views:
            if f"s{setup:02}" not in file:
                file[f"s{setup:02}/resolutions"] = [[1.0, 1, 1], [2.0, 2, 1]][:levels]
                file[f"s{setup:02}/subdivisions"] = [[12, 10, 6]] * levels


def test_bigdataviewer_hdf5_takes_its_voxel_size_from_the_xml(tmp_path):
    path = tmp_path / "scan.h5"
    write_h5(path, [(0, 0)])
    assert not open_volume(path).sized
    (tmp_path / "another.xml").write_text(XML.format(format="bdv.hdf5", tag="hdf5", name="another.h5"))
    (tmp_path / "dataset.xml").write_text(XML.format(format="bdv.hdf5", tag="hdf5", name="scan.h5"))
    for name in ("", ":/t00000/s00", ":/t00000/s00/0/cells"):
        with open_volume(f"{path}{name}") as volume:
            assert (volume.voxel_size, volume.unit) == ((2, 0.5, 0.5), "micrometer")
            reads(volume, ARRAY // 2)
    with open_volume(path, level=1) as volume:
        assert (volume.voxel_size, volume.offset) == ((2, 1, 1), (0, 0.25, 0.25))
        reads(volume, ARRAY[:, ::2, ::2] // 2)
    with pytest.raises(BadInput, match="no level 2: choose 0 to 1"):
        open_volume(path, level=2)
    with pytest.raises(BadInput, match="no level 1: leave out `level`"):
        open_volume(f"{path}:/t00000/s00/0/cells", level=1)
    (tmp_path / "dataset.xml").write_text((tmp_path / "dataset.xml").read_text().replace("24 20 6", "24 20 7"))
    with pytest.raises(BadInput, match=r"setup 0 has 24 x 20 x 6 voxels, but 24 x 20 x 7 by .*dataset"):
        open_volume(path)


def test_setups_and_time_points_of_bigdataviewer_are_asked(tmp_path):
    path = tmp_path / "scan.h5"
    write_h5(path, [(0, 0), (0, 1), (1, 0)])
    (tmp_path / "scan.xml").write_text(XML.format(format="bdv.hdf5", tag="hdf5", name="scan.h5"))
    listed = r"holds the images /t00000/s00, /t00000/s01, /t00001/s00: name one, such as .*scan\.h5:/t00000/s00"
    with pytest.raises(BadInput, match=listed):
        open_volume(path)
    assert open_volume(f"{path}:/t00000/s01").voxel_size == (4, 0.5, 0.5)


def write_n5(path, array, attributes):
    path.mkdir(parents=True)
    dims = list(array.shape[::-1])
    meta = {"dimensions": dims, "blockSize": dims, "dataType": "uint16", "compression": {"type": "gzip"}}
    (path / "attributes.json").write_text(json.dumps({**meta, **attributes}))
    chunk = path.joinpath(*["0"] * array.ndim)
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(struct.pack(">2H3I", 0, 3, *dims) + gzip.compress(array.astype(">u2").tobytes()))


@pytest.mark.parametrize("own", [True, False])
def test_bigdataviewer_n5_takes_factors_from_the_setup_and_the_rest_from_the_xml(tmp_path, own):
    root = tmp_path / "scan.n5"
    write_n5(root / "setup0/timepoint0/s0", ARRAY, {"downsamplingFactors": [1, 1, 1]} if own else {})
    write_n5(root / "setup0/timepoint0/s1", ARRAY[:, ::2, ::2], {"downsamplingFactors": [2, 2, 1]} if own else {})
    (root / "setup0/timepoint0/attributes.json").write_text(
        json.dumps({"multiScale": True, "resolution": [0.5, 0.5, 2]})
    )
    (root / "setup0/attributes.json").write_text(json.dumps({"downsamplingFactors": [[1, 1, 1], [2, 2, 1]]}))
    assert (open_volume(root).voxel_size, open_volume(root).unit) == ((2, 0.5, 0.5), "")
    (tmp_path / "scan.xml").write_text(XML.format(format="bdv.n5", tag="n5", name="scan.n5"))
    for name in (root, root / "setup0", root / "setup0/timepoint0", root / "setup0/timepoint0/s0"):
        volume = open_volume(name)
        assert (volume.voxel_size, volume.unit) == ((2, 0.5, 0.5), "micrometer")
        reads(volume, ARRAY)
    for volume in (open_volume(root, level=1), open_volume(root / "setup0/timepoint0/s1")):
        assert (volume.voxel_size, volume.offset) == ((2, 1, 1), (0, 0.25, 0.25))
        reads(volume, ARRAY[:, ::2, ::2])
    write_n5(root / "setup0/timepoint1/s0", ARRAY, {})
    with pytest.raises(BadInput, match=r"holds the images setup0/timepoint0, setup0/timepoint1: name one"):
        open_volume(root)
    both = json.loads((root / "setup0/timepoint0/attributes.json").read_text())
    (root / "setup0/timepoint0/attributes.json").write_text(json.dumps({**both, "resolution": [0.5, 0.5, 3]}))
    with pytest.raises(BadInput, match=r"resolution of the group above, but .* by .*scan\.xml"):
        open_volume(root / "setup0/timepoint0")
