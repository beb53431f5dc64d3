"""TIFF of microscopes, ImageJ and scripts."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

RNG = np.random.default_rng(3)
STACK = RNG.integers(0, 60000, (7, 41, 53), np.uint16)
DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


def read(path, **options):
    with open_volume(path, **{"voxel_size": (1, 1, 1), **options}) as volume:
        return volume.read(Box.of(volume.spatial))


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"metadata": {"axes": "ZYX"}},
        {"metadata": None, "bigtiff": True, "byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "rowsperstrip": 7},
        {"tile": (16, 32), "compression": "zstd", "metadata": None},
        {"tile": (16, 16)},
        {"rowsperstrip": 5, "metadata": None},
        {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
    ],
)
def test_stacks_however_they_are_packed(tmp_path, options):
    path = tmp_path / "ein Stapel ß.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    with open_volume(path, voxel_size=(4, 1, 1), unit="nm") as volume:
        assert (volume.shape, volume.dtype, volume.is_2d) == ((1, 7, 41, 53), np.uint16, False)
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK)
        for _ in range(10):
            start = [int(RNG.integers(0, n)) for n in STACK.shape]
            stop = [int(RNG.integers(a + 1, n + 1)) for a, n in zip(start, STACK.shape, strict=True)]
            box = Box(tuple(start), tuple(stop))
            np.testing.assert_array_equal(volume.read(box)[0], STACK[box.slices])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4", "f8", "u4", "i4"])
def test_single_images(tmp_path, dtype):
    image = (STACK[0] - 30000.0).astype(dtype) if dtype != "u1" else STACK[0].astype("u1")
    tifffile.imwrite(tmp_path / "a.tif", image)
    volume = open_volume(tmp_path / "a.tif", voxel_size=(2, 3))
    assert (volume.shape, volume.is_2d, volume.voxel_size) == ((1, 1, 41, 53), True, (1, 2, 3))
    block = volume.read(Box.of(volume.spatial))
    assert block.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(block[0, 0], image)


@pytest.mark.parametrize("shape", [(1, 1, 9), (5, 1, 1), (1, 9, 1), (3, 1, 7), (1, 1, 1)])
def test_axes_of_length_one(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], array)


def write_each(path, images, *options, **common):
    """Write images by one call each, as a loop over planes does."""
    with tifffile.TiffWriter(path, ome=common.pop("ome", None)) as file:
        for number, image in enumerate(images):
            file.write(image, **{**common, **(options[number] if options else {})})
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ome": True},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 32)},
        {"compression": "lzw", "rowsperstrip": 7},
    ],
)
@pytest.mark.parametrize("plane", [(41, 53), (1, 41, 53)])
def test_planes_written_one_by_one_are_a_stack(tmp_path, options, plane):
    path = write_each(tmp_path / "loop.tif", [image.reshape(plane) for image in STACK], **options)
    stated = {"axes": "zyx"} if options.get("ome") else {}  # images of an OME-TIFF may be anything
    with open_volume(path, voxel_size=(1, 1, 1), **stated) as volume:
        assert (volume.shape, volume.is_2d) == ((1, 7, 41, 53), False)
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK)
        np.testing.assert_array_equal(volume.read(Box((2, 3, 4), (5, 30, 31)))[0], STACK[2:5, 3:30, 4:31])


def test_coloured_planes_written_one_by_one_are_a_stack(tmp_path):
    rgb = RNG.integers(0, 255, (4, 31, 21, 3), np.uint8)
    path = write_each(tmp_path / "loop.tif", rgb, photometric="rgb")
    np.testing.assert_array_equal(read(path), rgb.transpose(3, 0, 1, 2))


def test_volumes_written_one_by_one_need_a_name_for_the_axis_they_are_stacked_along(tmp_path):
    path = write_each(tmp_path / "loop.tif", [STACK, STACK + 1])
    with pytest.raises(BadInput, match=r"names only some of its axes.*\(2, 7, 41, 53\): give `axes`"):
        open_volume(path, voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(read(path, axes="czyx"), np.stack([STACK, STACK + 1]))


@pytest.mark.parametrize("metadata", [{}, None])
@pytest.mark.parametrize(
    ("second", "how", "words"),
    [
        (STACK[1, :20], {}, r"image 1 \(.*\) has another shape \(\(20, 53\), the first has \(41, 53\)\)"),
        (STACK[1].astype("u1"), {}, r"image 1 \(.*\) has another type \(uint8, the first has uint16\)"),
        (
            STACK[1],
            {"compression": "lzw"},
            r"image 1 \(.*\) has another compression \(lzw, the first has none\)",
        ),
        (STACK[1], {"tile": (16, 16)}, r"image 1 \(.*\) has another tiling or colours"),
    ],
)
def test_images_that_differ_are_no_stack(tmp_path, metadata, second, how, words):
    path = write_each(tmp_path / "mixed.tif", [STACK[0], second], {}, how, metadata=metadata)
    with pytest.raises(BadInput, match=rf"mixed\.tif: its {words}.*re-save"):
        open_volume(path, voxel_size=(1, 1, 1))


@pytest.mark.parametrize("ome", [True, None])
def test_a_pyramid_is_its_finest_level(tmp_path, ome):
    fine = np.repeat(np.repeat(STACK, 2, 1), 2, 2)
    coarse, axes = {"subfiletype": 1}, {"metadata": {"axes": "ZYX"}}
    levels = [fine, fine[:, ::2, ::2], fine[:, ::4, ::4]]
    path = write_each(tmp_path / "pyramid.tif", levels, {"subifds": 2, **axes}, coarse, coarse, ome=ome)
    np.testing.assert_array_equal(read(path)[0], fine)
    flat = write_each(tmp_path / "flat.tif", [level[0] for level in levels], {}, coarse, coarse)
    np.testing.assert_array_equal(read(flat)[0, 0], fine[0])


@pytest.mark.parametrize(
    ("ome", "about"),
    [
        (None, {"subfiletype": 1}),
        (None, {"metadata": {"name": "thumbnail"}}),
        (True, {"metadata": {"Name": "label image"}}),
        (True, {"metadata": {"Name": "macro image"}}),
    ],
)
def test_pictures_beside_the_image_are_left_aside(tmp_path, ome, about):
    small = STACK[0, :20, :20]
    path = write_each(
        tmp_path / "slide.tif", [STACK, small, small], {"metadata": {"axes": "ZYX"}}, about, about, ome=ome
    )
    np.testing.assert_array_equal(read(path)[0], STACK)


def test_a_mask_beside_the_image_is_left_aside(tmp_path):
    path = write_each(tmp_path / "masked.tif", [STACK[0], STACK[0] > 9], {}, {"subfiletype": 4})
    np.testing.assert_array_equal(read(path)[0, 0], STACK[0])


def test_planes_written_one_by_one_and_cut_off_are_named(tmp_path):
    path = write_each(tmp_path / "loop.tif", STACK, compression="zlib")
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(Unreadable, match=r"loop\.tif is cut off"):
        read(path)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_become_channels(tmp_path, planar, compression):
    rgb = RNG.integers(0, 255, (4, 3, 31, 21) if planar else (4, 31, 21, 3), np.uint8)
    config = "separate" if planar else "contig"
    tifffile.imwrite(
        tmp_path / "a.tif", rgb, photometric="rgb", planarconfig=config, compression=compression, metadata=None
    )
    expected = rgb.transpose(1, 0, 2, 3) if planar else rgb.transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), expected)
    tifffile.imwrite(tmp_path / "b.tif", rgb[0], photometric="rgb", planarconfig=config, compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "b.tif"), expected[:, :1])


def test_imagej_hyperstacks(tmp_path):
    stack = RNG.integers(0, 255, (5, 2, 20, 30), np.uint16)
    metadata = {"axes": "ZCYX", "spacing": 0.3, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(10, 5), metadata=metadata)
    volume = open_volume(tmp_path / "a.tif")
    assert (volume.voxel_size, volume.unit) == ((0.3, 0.2, 0.1), "micrometer")
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), stack.transpose(1, 0, 2, 3))
    with pytest.raises(BadInput, match=r"is 0.3,0.2,0.1, not 1,1,1: give `voxel_size`"):
        open_volume(tmp_path / "a.tif", voxel_size=(1, 1, 1))


def test_imagej_files_with_half_a_voxel_size(tmp_path):
    metadata = {"axes": "ZYX", "unit": "nm"}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(10, 10), metadata=metadata)
    with pytest.raises(BadInput, match="no voxel size along z: give `voxel_size`"):
        open_volume(tmp_path / "a.tif")
    assert open_volume(tmp_path / "a.tif", voxel_size=(1, 0.1, 0.1)).unit == "nanometer"
    tifffile.imwrite(tmp_path / "b.tif", STACK, imagej=True, resolution=(72, 72), metadata={"axes": "ZYX"})
    assert not open_volume(tmp_path / "b.tif").sized


def test_imagej_time_series_can_be_said_to_be_depth(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(BadInput, match=r"7 time points.*`axes`"):
        open_volume(tmp_path / "a.tif", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(read(tmp_path / "a.tif", axes="zyx")[0], STACK)


def test_printer_resolution_is_no_voxel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, resolution=(300, 300), resolutionunit="INCH", metadata=None)
    assert not open_volume(tmp_path / "a.tif").sized


@pytest.mark.parametrize("order", ["CZYX", "ZCYX"])
def test_ome_tiff(tmp_path, order):
    stack = RNG.integers(0, 99, (2, 5, 20, 30), np.uint8)
    sizes = {
        "PhysicalSizeZ": 0.04,
        "PhysicalSizeZUnit": "\N{MICRO SIGN}m",
        "PhysicalSizeX": 4,
        "PhysicalSizeXUnit": "nm",
    }
    written = stack if order == "CZYX" else stack.transpose(1, 0, 2, 3)
    metadata = {"axes": order, **sizes, "PhysicalSizeY": 4, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", written, photometric="minisblack", metadata=metadata)
    volume = open_volume(tmp_path / "a.ome.tif")
    assert (volume.voxel_size, volume.unit) == ((40, 4, 4), "nanometer")
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), stack)


def test_entities_in_ome_xml_are_refused(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><OME xmlns="o"><Image/></OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, description=bomb, metadata=None)
    with pytest.raises(Unreadable, match="declares entities"):
        open_volume(tmp_path / "a.ome.tif", voxel_size=(1, 1, 1))


def test_folders_of_slices_in_natural_order(tmp_path):
    folder = tmp_path / "slices of brain"
    folder.mkdir()
    for number, image in enumerate(STACK, start=5):
        tifffile.imwrite(folder / f"s{number}.tif", image, compression="zlib" if number % 2 else None)
    (folder / "notes.txt").write_text("ignored")
    (folder / ".s1.tif").write_bytes(b"hidden")
    np.testing.assert_array_equal(read(folder)[0], STACK)
    with open_volume(folder, voxel_size=(1, 1, 1)) as volume:
        np.testing.assert_array_equal(volume.read(Box((2, 3, 4), (5, 30, 31)))[0], STACK[2:5, 3:30, 4:31])
        assert volume.fingerprint() == volume.fingerprint()
    tifffile.imwrite(folder / "s7.tif", STACK[0, :40])
    with pytest.raises(BadInput, match=r"s7\.tif is \(40, 53\).*s5\.tif is \(41, 53\).*move it out"):
        open_volume(folder, voxel_size=(1, 1, 1))
    tifffile.imwrite(folder / "s7.tif", STACK[:2])
    with pytest.raises(BadInput, match=r"s7\.tif has 2 pages"):
        open_volume(folder, voxel_size=(1, 1, 1))


def test_a_damaged_slice_is_named(tmp_path):
    for number in range(3):
        tifffile.imwrite(tmp_path / f"s{number}.tif", STACK[number], compression="zlib")
    good = (tmp_path / "s1.tif").read_bytes()
    (tmp_path / "s1.tif").write_bytes(good[: len(good) - 2000])
    with pytest.raises(Unreadable, match=r"s1\.tif"):
        read(tmp_path)


def test_folders_without_slices_are_refused(tmp_path):
    with pytest.raises(BadInput, match="neither a Zarr or N5 nor images"):
        open_volume(tmp_path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_files_are_named(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression=compression)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(Unreadable, match=r"a\.tif.*restore"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"hello world" * 99])
def test_files_that_are_no_tiff(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(Unreadable, match=r"a\.tif is not a readable TIFF"):
        open_volume(tmp_path / "a.tif")


def test_unknown_files_list_what_can_be_read(tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(BadInput, match=r"a\.gif has a format that cannot be read: .*TIFF.*PNG.*MRC"):
        open_volume(tmp_path / "a.gif")
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    with pytest.raises(BadInput, match="`axes`"):
        open_volume(tmp_path / "a.tif", axes="yx", voxel_size=(1, 1, 1))
    with pytest.raises(BadInput, match="no level 1"):
        open_volume(tmp_path / "a.tif", level=1, voxel_size=(1, 1, 1))
    with pytest.raises(NotFound, match=r"did you mean a\.tif"):
        open_volume(tmp_path / "b.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_box_is_all_that_is_decoded(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((300, 500, 500), np.uint8), compression=compression)
    with open_volume(tmp_path / "a.tif", voxel_size=(1, 1, 1)) as volume:
        tracemalloc.start()
        volume.read(Box((100, 0, 0), (110, 500, 500)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 15e6


def test_decoded_segments_are_kept_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("vol2vol.volumes.formats.segments.CACHE_BYTES", 3 * 41 * 53 * 2)
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib", rowsperstrip=41)
    with open_volume(tmp_path / "a.tif", voxel_size=(1, 1, 1)) as volume:
        for _ in range(2):
            for z in range(7):
                np.testing.assert_array_equal(volume.read(Box((z, 0, 0), (z + 1, 41, 53)))[0, 0], STACK[z])


def test_real_volumes_open_as_they_are_stored():
    if not (DATA / "data.json").exists():
        pytest.skip("the folder with real microscopy volumes is not beside the repository")
    listed = json.loads((DATA / "data.json").read_text())
    shapes = {str(f.relative_to(DATA)) for f in DATA.rglob("*.tif") if "vendor_files" not in f.parts}  # asks for axes
    assert shapes
    assert listed
    for name in sorted(shapes):
        time = {"time": 0} if "timelapse" in name else {}
        with open_volume(DATA / name, **time) as volume:
            box = Box((0, 0, 0), (1, *volume.spatial[1:]))
            stored = volume.read(box)[:, 0]
        plane = tifffile.imread(DATA / name, key=0)
        np.testing.assert_array_equal(np.moveaxis(stored, 0, -1) if plane.ndim == 3 else stored[0], plane)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_to_be_shown_turned_is_read_as_stored_and_says_so(tmp_path, caplog, orientation):
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    tag = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", extratags=tag, metadata=None)
    with open_volume(tmp_path / "a.tif") as volume:
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0, 0], image)
    warning = f"turned or mirrored (orientation {orientation}): it is read as stored"
    assert (warning in caplog.text) == (orientation > 1)
