"""OME-Zarr of every version: transformations of levels, images in containers, contradictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

from vol2vol.errors import BadInput, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

SIZES = {"t": 1, "c": 2, "z": 5, "y": 7, "x": 11}
SCALE = {"z": 4.0, "y": 3.0, "x": 2.0}


def values(axes):
    shape = [SIZES[a] for a in axes]
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def axis(name, unit="micrometer"):
    kind = {"t": "time", "c": "channel"}.get(name, "space")
    return {"name": name, "type": kind, **({"unit": unit} if kind == "space" else {})}


def write(path, axes, attributes, *, zarr_format=3, level="0", names=None):
    group = zarr.open_group(path, mode="a", zarr_format=zarr_format)
    array = values(axes)
    group.create_array(level, shape=array.shape, dtype="u2", chunks=array.shape, dimension_names=names)[...] = array
    group.attrs.update(attributes)
    return array


def image(axes, steps, *, more=None, systems=None, name="physical"):
    """Return the attributes of an OME-Zarr 0.6 with one level."""
    systems = systems or [{"name": name, "axes": [axis(a) for a in axes]}]
    datasets = [{"path": "0", "coordinateTransformations": [{**steps, "input": "0", "output": name}]}]
    return {
        "ome": {
            "version": "0.6",
            "multiscales": [{"coordinateSystems": systems, "datasets": datasets, **(more or {})}],
        }
    }


def scale(axes):
    return {"type": "scale", "scale": [SCALE.get(a, 1.0) for a in axes]}


def in_zyx(axes):
    raw = values(axes)[0] if axes[0] == "t" else values(axes)
    axes = axes.lstrip("t")
    return raw.transpose([axes.index(a) for a in "czyx" if a in axes])


SHIFT = {"type": "translation", "translation": [10.0, 20.0, 30.0]}
AFFINE = [[4.0, 0, 0, 10], [0, 3.0, 0, 20], [0, 0, 2.0, 30]]
BY_DIMENSION = {
    "type": "byDimension",
    "transformations": [
        {"input_axes": [0], "output_axes": [0], "transformation": {"type": "scale", "scale": [4.0]}},
        {"input_axes": [1, 2], "output_axes": [1, 2], "transformation": {"type": "scale", "scale": [3.0, 2.0]}},
    ],
}


@pytest.mark.parametrize(
    ("steps", "offset"),
    [
        (scale("zyx"), (0, 0, 0)),
        ({"type": "sequence", "transformations": [scale("zyx"), SHIFT]}, (10, 20, 30)),
        ({"type": "sequence", "transformations": [SHIFT, scale("zyx")]}, (40, 60, 60)),
        ({"type": "sequence", "transformations": [{"type": "identity"}, scale("zyx")]}, (0, 0, 0)),
        ({"type": "affine", "affine": AFFINE}, (10, 20, 30)),
        ({"type": "bijection", "forward": {"type": "affine", "affine": AFFINE}, "inverse": {}}, (10, 20, 30)),
        (BY_DIMENSION, (0, 0, 0)),
    ],
    ids=["scale", "sequence", "shift first", "identity", "affine", "bijection", "by dimension"],
)
def test_transformations_of_version_06_that_scale_and_shift(tmp_path, steps, offset):
    write(tmp_path / "a.zarr", "zyx", image("zyx", steps))
    for name in ("a.zarr", "a.zarr/0"):
        volume = open_volume(tmp_path / name)
        assert (volume.voxel_size, volume.unit, volume.offset) == ((4, 3, 2), "micrometer", offset)
        assert volume.describe()["format"] == "OME-Zarr 0.6"
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], values("zyx"))


@pytest.mark.parametrize("axes", ["tczyx", "cyx", "yx", "yxz", "xyz", "zyxc"])
def test_axes_of_version_06_in_any_order(tmp_path, axes):
    write(tmp_path / "a.zarr", axes, image(axes, scale(axes)))
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.axes == axes
    assert volume.voxel_size == (4 if "z" in axes else 1, 3, 2)
    expected = in_zyx(axes).reshape(volume.shape)
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), expected)


def test_a_map_of_axes_gives_their_order(tmp_path):
    # The stored array is x, z, y; the coordinate system z, y, x.
    turn = {"type": "mapAxis", "mapAxis": [1, 2, 0]}
    write(tmp_path / "a.zarr", "xzy", image("zyx", {"type": "sequence", "transformations": [turn, scale("zyx")]}))
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.axes, volume.voxel_size) == ("xzy", (4, 3, 2))
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], in_zyx("xzy"))


def test_an_array_coordinate_system_leads_on_to_the_physical_one(tmp_path):
    array = {"name": "voxels", "axes": [{"name": f"dim_{n}", "type": "array"} for n in range(3)]}
    systems = [{"name": "physical", "axes": [axis(a) for a in "zyx"]}, array]
    onward = [{**scale("zyx"), "input": {"name": "voxels"}, "output": {"name": "physical"}}]
    more = {"coordinateTransformations": onward}
    steps = {"type": "identity"}
    write(tmp_path / "a.zarr", "zyx", image("zyx", steps, more=more, systems=systems, name="voxels"))
    assert open_volume(tmp_path / "a.zarr").voxel_size == (4, 3, 2)


def test_further_coordinate_systems_do_not_change_the_intrinsic_one(tmp_path):
    systems = [{"name": n, "axes": [axis(a) for a in "zyx"]} for n in ("atlas", "physical")]
    turned = [{"type": "rotation", "rotation": [[0, 1, 0]] * 3, "input": "physical", "output": "atlas"}]
    more = {"coordinateTransformations": turned}
    write(tmp_path / "a.zarr", "zyx", image("zyx", scale("zyx"), more=more, systems=systems))
    assert open_volume(tmp_path / "a.zarr").voxel_size == (4, 3, 2)


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ({"type": "rotation", "rotation": [[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]]}, r"rotated.*\(rotation\)"),
        ({"type": "affine", "affine": [[4, 1, 0, 0], [0, 3, 0, 0], [0, 0, 2, 0]]}, r"sheared.*\(affine\)"),
        ({"type": "displacements", "path": "field"}, "type 'displacements'"),
        ({"type": "scale", "path": "numbers"}, "type 'scale'"),
        ({"type": "wobble"}, "type 'wobble'"),
        ({"type": "scale", "scale": [1.0, 2.0]}, r"scale of shape \(2,\) for 3 axes"),
    ],
)
def test_transformations_that_are_not_read_are_named(tmp_path, steps, named):
    write(tmp_path / "a.zarr", "zyx", image("zyx", steps))
    with pytest.raises(BadInput, match=named):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.6", "0.6.dev3", "0.6-dev1", "0.6.0", "0.6rc1"])
def test_drafts_of_a_version_are_read_as_it(tmp_path, version):
    attributes = image("zyx", scale("zyx"))
    attributes["ome"]["version"] = version
    write(tmp_path / "a.zarr", "zyx", attributes)
    assert open_volume(tmp_path / "a.zarr").voxel_size == (4, 3, 2)


@pytest.mark.parametrize("version", ["0.7", "1.0", "0.7-dev", "latest", "0.65", 7])
def test_an_unknown_version_is_refused_by_name(tmp_path, version):
    attributes = image("zyx", scale("zyx"))
    attributes["ome"]["version"] = version
    write(tmp_path / "a.zarr", "zyx", attributes)
    for name in ("a.zarr", "a.zarr/0"):
        with pytest.raises(BadInput, match=rf"is OME-Zarr {version}; versions 0\.1 to 0\.6 can be read"):
            open_volume(tmp_path / name)


def old(axes, version="0.4", unit="micrometer", steps=None, **more):
    """Return the attributes of an image of version 0.4 or before."""
    datasets = [{"path": "0", "coordinateTransformations": [scale(axes)] if steps is None else steps}]
    return {"multiscales": [{"version": version, "axes": [axis(a, unit) for a in axes], "datasets": datasets, **more}]}


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_versions_without_axes_are_tczyx(tmp_path, version):
    attributes = {"multiscales": [{"version": version, "datasets": [{"path": "0"}]}]}
    write(tmp_path / "a.zarr", "tczyx", attributes, zarr_format=2)
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    assert (volume.axes, volume.shape) == ("tczyx", (2, 5, 7, 11))


def test_axes_of_version_03_are_words(tmp_path):
    attributes = {"multiscales": [{"version": "0.3", "axes": ["x", "y", "z"], "datasets": [{"path": "0"}]}]}
    write(tmp_path / "a.zarr", "xyz", attributes, zarr_format=2)
    volume = open_volume(tmp_path / "a.zarr", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], in_zyx("xyz"))


def test_axes_of_other_names_are_asked(tmp_path):
    attributes = old("zyx")
    attributes["multiscales"][0]["axes"][0] = {"name": "angle", "type": "rotation"}
    write(tmp_path / "a.zarr", "zyx", attributes, zarr_format=2)
    with pytest.raises(BadInput, match=r"axes of other names .*\(\*yx\).*`axes`"):
        open_volume(tmp_path / "a.zarr")
    with pytest.raises(BadInput, match="no voxel size along z"):
        open_volume(tmp_path / "a.zarr", axes="zyx")


@pytest.mark.parametrize(("unit", "read"), [(None, ""), ("pixel", ""), ("furlong", None)])
def test_a_unit_that_is_not_known_leaves_the_voxel_size_open(tmp_path, unit, read):
    write(tmp_path / "a.zarr", "zyx", old("zyx", unit=unit), zarr_format=2)
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.sized == (read is not None)
    assert (volume.voxel_size, volume.unit) == ((1, 1, 1) if read is None else (4, 3, 2), read or "")


def test_each_axis_has_its_own_unit(tmp_path):
    attributes = old("zyx")
    attributes["multiscales"][0]["axes"][0]["unit"] = "nanometer"
    attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [4000.0, 3.0, 2.0]},
        {"type": "translation", "translation": [8000.0, 1.0, 2.0]},
    ]
    write(tmp_path / "a.zarr", "zyx", attributes, zarr_format=2)
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.voxel_size, volume.offset) == ((4, 3, 2), (8, 1, 2))
    del attributes["multiscales"][0]["axes"][0]["unit"]
    write(tmp_path / "b.zarr", "zyx", attributes, zarr_format=2)
    with pytest.raises(BadInput, match="no voxel size along z"):
        open_volume(tmp_path / "b.zarr")


def test_what_the_image_scales_and_shifts_comes_after_its_levels(tmp_path):
    steps = [scale("zyx"), {"type": "translation", "translation": [1.0, 1.0, 1.0]}]
    whole = [{"type": "scale", "scale": [10.0, 10.0, 10.0]}, {"type": "translation", "translation": [5.0, 6.0, 7.0]}]
    attributes = old("zyx", steps=steps, coordinateTransformations=whole)
    write(tmp_path / "a.zarr", "zyx", attributes, zarr_format=2)
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.voxel_size, volume.offset) == ((40, 30, 20), (15, 16, 17))


def test_names_of_dimensions_and_axes_must_agree(tmp_path):
    write(tmp_path / "a.zarr", "zyx", image("zyx", scale("zyx")), names=("x", "y", "z"))
    for name in ("a.zarr", "a.zarr/0"):
        with pytest.raises(BadInput, match="axes are zyx by the axes of its image, but xyz by its dimension_names"):
            open_volume(tmp_path / name)
    write(tmp_path / "b.zarr", "zyx", image("zyx", scale("zyx")), names=("dim_0", "Y", None))
    assert open_volume(tmp_path / "b.zarr").axes == "zyx"


def test_voxel_sizes_of_array_and_image_must_agree(tmp_path):
    write(tmp_path / "a.zarr", "zyx", image("zyx", scale("zyx")))
    array = zarr.open_array(tmp_path / "a.zarr/0")
    array.attrs.update({"resolution": [4000.0, 3000.0, 2000.0], "units": ["nm"] * 3})
    assert open_volume(tmp_path / "a.zarr").voxel_size == (4, 3, 2)
    array.attrs["resolution"] = [4000.0, 3000.0, 1000.0]
    with pytest.raises(BadInput, match=r"x 2 micrometer by the axes of its image, but .*x 1000 nanometer by res"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "attributes",
    [
        {"resolution": [4, 3, 2], "offset": [40, 30, 20], "units": "um"},
        {"voxel_size": [4, 3, 2], "offset": [40, 30, 20], "units": ["um"] * 4, "axis_names": ["c^", "z", "y", "x"]},
        {"transform": {"axes": ["c", "z", "y", "x"], "scale": [1, 4, 3, 2], "translate": [0, 40, 30, 20],
                       "units": ["", "um", "um", "um"]}},
    ],
)  # fmt: skip
def test_attributes_of_a_plain_array_state_its_space(tmp_path, attributes):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = group.create_array("raw", shape=(2, 5, 7, 11), dtype="u1", chunks=(2, 5, 7, 11))
    array.attrs.update(attributes)
    axes = "czyx" if "resolution" in attributes else None
    volume = open_volume(tmp_path / "a.zarr/raw", axes=axes)
    assert (volume.axes, volume.unit) == ("czyx", "micrometer")
    assert (volume.voxel_size, volume.offset) == ((4, 3, 2), (40, 30, 20))


def test_attributes_of_the_group_around_an_array_count(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.attrs.update({"resolution": [4, 3, 2], "units": "nm"})
    for name in ("s0", "s1"):
        group.create_array(name, shape=(5, 7, 11), dtype="u1", chunks=(5, 7, 11))
    assert open_volume(tmp_path / "a.zarr/s0").voxel_size == (4, 3, 2)
    assert not open_volume(tmp_path / "a.zarr/s1").sized  # a coarser level, of which nothing says by how much


def container(path, images, *, version="0.4", where=""):
    """Write what bioformats2raw writes: images below a root that only says so."""
    fmt = 2 if version == "0.4" else 3
    mark = {"bioformats2raw.layout": 3}
    root = zarr.open_group(path, mode="w", zarr_format=fmt)
    root.attrs.update(mark if fmt == 2 else {"ome": {"version": version, **mark}})
    for name in images:
        attributes = old("tczyx") if fmt == 2 else image("tczyx", scale("tczyx"))
        write(path / where / name, "tczyx", attributes, zarr_format=fmt)
    return root


@pytest.mark.parametrize("version", ["0.4", "0.6"])
def test_the_only_image_of_a_container_is_opened(tmp_path, version):
    container(tmp_path / "a.zarr", ["0"], version=version)
    for name in ("a.zarr", "a.zarr/0", "a.zarr/0/0"):
        volume = open_volume(tmp_path / name)
        assert (volume.axes, volume.voxel_size) == ("tczyx", (4, 3, 2))
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), values("tczyx")[0])
        with pytest.raises(BadInput, match="says its axes are tczyx"):
            open_volume(tmp_path / name, axes="tczxy")


def test_several_images_of_a_container_are_listed(tmp_path):
    root = container(tmp_path / "a.zarr", ["0", "1"])
    with pytest.raises(BadInput, match=r"holds the images 0, 1: name one of them, such as .*a\.zarr/0"):
        open_volume(tmp_path / "a.zarr")
    root.create_group("OME").attrs["series"] = ["1"]
    assert open_volume(tmp_path / "a.zarr").axes == "tczyx"


def test_an_image_some_groups_below_is_found(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).create_group("day 1").create_group("left")
    write(tmp_path / "a.zarr/day 1/left/scan", "zyx", old("zyx"), zarr_format=2)
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.voxel_size, [level["path"] for level in volume.describe()["levels"]]) == ((4, 3, 2), ["0"])
    zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    assert open_volume(tmp_path / "a.zarr").voxel_size == (4, 3, 2)
    write(tmp_path / "a.zarr/day 2/scan", "zyx", old("zyx"), zarr_format=2)
    (tmp_path / "a.zarr/.zmetadata").unlink()
    with pytest.raises(BadInput, match="holds the images day 1/left/scan, day 2/scan: name one of them"):
        open_volume(tmp_path / "a.zarr")


def test_fields_of_plates_and_wells_are_listed(tmp_path):
    path = tmp_path / "a.zarr"
    wells = [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"path": "B/2", "rowIndex": 1, "columnIndex": 1}]
    zarr.open_group(path, mode="w", zarr_format=2).attrs["plate"] = {"version": "0.4", "wells": wells}
    for well in ("A/1", "B/2"):
        zarr.open_group(path / well, mode="w", zarr_format=2).attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
        for field in "01":
            write(path / well / field, "zyx", old("zyx"), zarr_format=2)
    with pytest.raises(BadInput, match=r"holds the images A/1/0, A/1/1, B/2/0, B/2/1: name one .*a\.zarr/A/1/0"):
        open_volume(path)
    with pytest.raises(BadInput, match=r"holds the images 0, 1: name one .*A/1/0"):
        open_volume(path / "A/1")
    assert open_volume(path / "B/2/1").voxel_size == (4, 3, 2)


XML = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image ID="Image:0"><Pixels PhysicalSizeX="9" PhysicalSizeY="9" PhysicalSizeZ="9"/></Image>
<Image ID="Image:1"><Pixels PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="600" PhysicalSizeYUnit="nm"
 PhysicalSizeZ="2"/></Image></OME>"""


def test_the_xml_of_a_container_gives_what_the_image_does_not(tmp_path):
    container(tmp_path / "a.zarr", ["0", "1"])
    bare = {"multiscales": [{"version": "0.2", "datasets": [{"path": "0"}]}]}
    (tmp_path / "a.zarr/1/.zattrs").write_text(json.dumps(bare))
    (tmp_path / "a.zarr/OME").mkdir()
    (tmp_path / "a.zarr/OME/METADATA.ome.xml").write_text(XML)
    volume = open_volume(tmp_path / "a.zarr/1")
    assert (volume.voxel_size, volume.unit) == ((2000, 600, 500), "nanometer")
    assert open_volume(tmp_path / "a.zarr/0").voxel_size == (4, 3, 2)
    (tmp_path / "a.zarr/OME/METADATA.ome.xml").write_text("<OME><Image></OME>")
    with pytest.raises(Unreadable, match=r"METADATA\.ome\.xml: its OME-XML is damaged"):
        open_volume(tmp_path / "a.zarr/1")
