"""OME-TIFF of several images and of several files; channels by name."""

from __future__ import annotations

import re
from math import prod

import numpy as np
import pytest
import tifffile

from vol2vol.errors import BadInput, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import create_volume, open_volume

RNG = np.random.default_rng(9)
IMAGES = RNG.integers(0, 60000, (3, 2, 20, 24), np.uint16)
SIZES = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}


def read(path, **stated):
    with open_volume(path, **stated) as volume:
        return volume.read(Box.of(volume.spatial))


def positions(path, images, axes, **options):
    with tifffile.TiffWriter(path, ome=True) as file:
        for i, array in enumerate(images):
            sizes = {**SIZES, "PhysicalSizeX": 0.5 + i, "PhysicalSizeY": 0.5 + i}
            file.write(
                array, photometric="minisblack", metadata={"axes": axes, "Name": f"Position {i}", **sizes}, **options
            )
    return path


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_images_of_one_shape_are_no_stack_but_can_be_chosen(tmp_path, options):
    path = positions(tmp_path / "a.ome.tif", IMAGES, "CYX", **options)
    with pytest.raises(BadInput, match=r"holds 3 images of one shape.*`image`, 0 \(Position 0\), 1 \(Position 1\)"):
        open_volume(path)
    for i, name in enumerate(["Position 0", 1, "2"]):
        with open_volume(path, image=name) as volume:
            assert (volume.shape, volume.axes, volume.voxel_size[1]) == ((2, 1, 20, 24), "cyx", 0.5 + i)
            np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[:, 0], IMAGES[i])
    with pytest.raises(BadInput, match=r"no image 'Position 7': give `image` with one of 0 \(Position 0\)"):
        open_volume(path, image="Position 7")


def test_images_that_are_planes_can_be_said_to_be_a_stack(tmp_path):
    path = positions(tmp_path / "a.ome.tif", IMAGES[:, 0], "YX")
    with pytest.raises(BadInput) as caught:
        open_volume(path)
    axes = re.search("`axes` ([a-z]+)", str(caught.value))[1]
    np.testing.assert_array_equal(read(path, axes=axes)[0], IMAGES[:, 0])


@pytest.mark.parametrize(
    ("axes", "shape", "stated"),
    [
        ("CYX", (2, 5, 6), "zcyx"),
        ("ZYX", (2, 5, 6), "czyx"),
        ("CZYX", (2, 3, 5, 6), "tczyx"),
        ("TYX", (2, 5, 6), "ztyx"),
    ],
)
def test_the_axes_named_for_images_that_are_one_volume_are_accepted(tmp_path, axes, shape, stated):
    images = np.arange(3 * prod(shape), dtype=np.uint16).reshape(3, *shape)
    path = positions(tmp_path / "a.ome.tif", images, axes)
    with pytest.raises(BadInput) as caught:
        open_volume(path)
    assert re.search("`axes` ([a-z]+)", str(caught.value))[1] == stated
    with open_volume(path, axes=stated, **({"time": 1} if "t" in stated else {})) as volume:
        assert volume.axes == stated


def test_no_axes_are_named_where_every_letter_is_taken(tmp_path):
    path = positions(tmp_path / "a.ome.tif", np.zeros((2, 2, 2, 3, 5, 6), np.uint8), "TCZYX")
    with pytest.raises(BadInput, match="`image`") as caught:
        open_volume(path)
    assert "`axes`" not in str(caught.value)


def test_one_of_images_that_differ_can_be_chosen(tmp_path):
    path = positions(tmp_path / "a.ome.tif", [IMAGES[0], IMAGES[1, :, :7]], "CYX")
    with pytest.raises(BadInput, match=r"image 1 \(counted from 0\) has another shape.*`image` 0"):
        open_volume(path)
    np.testing.assert_array_equal(read(path, image=1)[:, 0], IMAGES[1, :, :7])


def planes_of_a_set(folder, leave_out=()):
    """Write a set of files of one plane each, every one with the description of all."""
    space = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    data = "".join(
        f'<TiffData FirstZ="{z}" FirstC="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="p{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(5)
    )
    sizes = 'SizeX="24" SizeY="20" SizeZ="5" SizeC="1" SizeT="1"'
    sizes += "".join(f' {name}="{value}"' for name, value in SIZES.items())
    channel = '<Channel ID="Channel:0:0" Name="DAPI" SamplesPerPixel="1"/>'
    pixels = f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {sizes}>{channel}{data}</Pixels>'
    planes = RNG.integers(0, 60000, (5, 20, 24), np.uint16)
    for z in set(range(5)) - set(leave_out):
        text = f'<OME {space} UUID="urn:uuid:{z}"><Image ID="Image:0">{pixels}</Image></OME>'
        tifffile.imwrite(folder / f"p{z}.ome.tif", planes[z], description=text, metadata=None)
    return planes


def test_a_set_of_files_is_one_volume_and_changes_with_each_of_them(tmp_path):
    planes = planes_of_a_set(tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "p2.ome.tif")[0], planes)
    volume = open_volume(tmp_path / "p2.ome.tif")
    assert (volume.voxel_size, volume.channel_names) == ((2, 0.5, 0.5), ("DAPI",))
    before = volume.fingerprint()
    with (tmp_path / "p4.ome.tif").open("ab") as file:
        file.write(b"0")
    assert volume.fingerprint() != before


@pytest.mark.parametrize("leave_out", [(3,), (1, 3)])
def test_a_missing_member_is_named_on_opening(tmp_path, leave_out):
    planes_of_a_set(tmp_path, leave_out)
    more = " and 1 more" if len(leave_out) > 1 else ""
    with pytest.raises(Unreadable, match=rf"set of 5 files, of which p{leave_out[0]}\.ome\.tif{more} is missing: put"):
        open_volume(tmp_path / "p0.ome.tif")


def test_a_renamed_file_that_is_its_own_set_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGES[0], photometric="minisblack", metadata={"axes": "CYX", **SIZES})
    (tmp_path / "a.ome.tif").rename(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(read(tmp_path / "b.ome.tif")[:, 0], IMAGES[0])


SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def elsewhere(name):
    return f'<OME xmlns="{SPACE}" UUID="urn:uuid:1"><BinaryOnly MetadataFile="{name}" UUID="urn:uuid:2"/></OME>'


def image(number, files, size_z=2):
    """Return one image of an OME-XML whose planes lie in files of `size_z` planes."""
    data = "".join(
        f'<TiffData FirstZ="{z}" FirstC="{c}" FirstT="0" IFD="{z}" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for c, name in enumerate(files)
        for z in range(size_z)
    )
    sizes = f'SizeX="24" SizeY="20" SizeZ="{size_z}" SizeC="{len(files)}" SizeT="1" PhysicalSizeX="0.5"'
    sizes += ' PhysicalSizeY="0.5" PhysicalSizeZ="2"'
    pixels = f'<Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint16" {sizes}>{data}</Pixels>'
    return f'<Image ID="Image:{number}" Name="Position {number}">{pixels}</Image>'


def companion(folder, *images, name="set.companion.ome"):
    (folder / name).write_text(f'<OME xmlns="{SPACE}" UUID="urn:uuid:2">{"".join(images)}</OME>')
    return folder / name


def members(folder, names, description="set.companion.ome"):
    for name, array in zip(names, IMAGES, strict=False):
        tifffile.imwrite(
            folder / name, array, photometric="minisblack", description=elsewhere(description), metadata=None
        )


def test_a_member_is_read_by_the_companion_of_its_folder(tmp_path):
    members(tmp_path, ["c0.ome.tif", "c1.ome.tif"])
    with pytest.raises(BadInput, match=r"a set that set\.companion\.ome describes, which is missing.*`axes`"):
        open_volume(tmp_path / "c0.ome.tif", voxel_size=(1, 1, 1))
    alone = read(tmp_path / "c0.ome.tif", voxel_size=(1, 1, 1), axes="zyx")
    np.testing.assert_array_equal(alone[0], IMAGES[0])
    path = companion(tmp_path, image(0, ["c0.ome.tif", "c1.ome.tif"]))
    for name in ("c0.ome.tif", "c1.ome.tif", path.name):
        with open_volume(tmp_path / name) as volume:
            assert (volume.shape, volume.voxel_size, volume.unit) == ((2, 2, 20, 24), (2, 0.5, 0.5), "micrometer")
            np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), IMAGES[:2])
    (tmp_path / "c1.ome.tif").unlink()
    for name in ("c0.ome.tif", path.name):
        with pytest.raises(Unreadable, match=r"c1\.ome\.tif is missing"):
            open_volume(tmp_path / name)
    (tmp_path / "c0.ome.tif").unlink()
    with pytest.raises(Unreadable, match=r"describes c0\.ome\.tif, which is missing"):
        open_volume(path)


def test_of_images_in_files_of_their_own_that_of_the_named_file_is_read(tmp_path):
    members(tmp_path, ["p0.ome.tif", "p1.ome.tif"])
    path = companion(tmp_path, image(0, ["p0.ome.tif"]), image(1, ["p1.ome.tif"]))
    np.testing.assert_array_equal(read(tmp_path / "p1.ome.tif")[0], IMAGES[1])
    np.testing.assert_array_equal(read(tmp_path / "p1.ome.tif", image="Position 0")[0], IMAGES[0])
    with pytest.raises(BadInput, match=r"holds 2 images .*`image`, 0 \(Position 0\), 1 \(Position 1\)"):
        open_volume(path)
    np.testing.assert_array_equal(read(path, image=1)[0], IMAGES[1])


def test_a_member_is_read_by_the_tiff_that_describes_it(tmp_path):
    members(tmp_path, ["a.ome.tif", "b.ome.tif"], "first.ome.tif")
    text = f'<OME xmlns="{SPACE}" UUID="urn:uuid:first">{image(0, ["first.ome.tif", "b.ome.tif"])}</OME>'
    tifffile.imwrite(tmp_path / "first.ome.tif", IMAGES[2], photometric="minisblack", description=text, metadata=None)
    np.testing.assert_array_equal(read(tmp_path / "b.ome.tif"), IMAGES[[2, 1]])
    members(tmp_path, ["a.ome.tif", "first.ome.tif"], "b.ome.tif")
    with pytest.raises(BadInput, match="one file of a set"):  # two files that name each other
        open_volume(tmp_path / "b.ome.tif")


def test_a_description_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "inner").mkdir()
    companion(tmp_path, image(0, ["a.ome.tif"]))
    members(tmp_path / "inner", ["a.ome.tif"], "../set.companion.ome")
    with pytest.raises(BadInput, match="lies outside its folder"):
        open_volume(tmp_path / "inner/a.ome.tif")
    alone = read(tmp_path / "inner/a.ome.tif", axes="zyx", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(alone[0], IMAGES[0])


def test_channels_by_name_and_number(tmp_path):
    array = RNG.integers(0, 99, (4, 3, 20, 24), np.uint8)
    metadata = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP", "488", "1"]}, **SIZES}
    tifffile.imwrite(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata=metadata)
    path = tmp_path / "a.ome.tif"
    for wanted, places in (
        ([0], [0]),
        (["GFP", "DAPI"], [1, 0]),
        (["488"], [2]),
        (["0", 2], [0, 2]),
        (["1"], [3]),  # a name before a number
        ([1], [1]),
    ):
        with open_volume(path, channels=wanted) as volume:
            assert volume.channel_names == tuple(metadata["Channel"]["Name"][i] for i in places)
            np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), array[places])
            np.testing.assert_array_equal(volume.read(Box((1, 2, 3), (2, 9, 9))), array[places, 1:2, 2:9, 3:9])
    for wanted in (["Cy5"], [4], [-1]):
        with pytest.raises(BadInput, match=r"no channel .* it has the channels 0 to 3 \(DAPI, GFP, 488, 1\): correct"):
            open_volume(path, channels=wanted)
    with pytest.raises(BadInput, match="each once"):
        open_volume(path, channels=[0, "DAPI"])


def test_channels_tell_volumes_apart(tmp_path):
    array = np.zeros((2, 3, 20, 24), np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata={"axes": "CZYX", **SIZES})
    prints = {open_volume(tmp_path / "a.ome.tif", channels=[c]).fingerprint() for c in (0, 1)}
    assert len(prints) == 2


def test_channels_of_any_format_and_of_none(tmp_path):
    volume = create_volume(tmp_path / "a.zarr", shape=(3, 4, 5, 6), dtype="u1", voxel_size=(1, 1, 1), unit="nm")
    array = RNG.integers(0, 99, (3, 4, 5, 6), np.uint8)
    volume.write(Box.of(volume.spatial), array)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr", channels=[2, 0]), array[[2, 0]])
    tifffile.imwrite(tmp_path / "a.tif", array[0], photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", channels=["0"], voxel_size=(1, 1, 1))[0], array[0])
    with pytest.raises(BadInput, match="no channel '1', it has one channel, 0"):
        open_volume(tmp_path / "a.tif", channels=["1"], voxel_size=(1, 1, 1))
