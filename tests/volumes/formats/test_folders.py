"""Folders of images: names, `--pattern`, and that only the planes of one stack are stacked."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from vol2vol.errors import BadInput, NotFound
from vol2vol.geometry import Box
from vol2vol.volumes import open_volume

RNG = np.random.default_rng(8)


def image(text, shape=(11, 13)):
    """Return an image that is a function of its name."""
    return np.random.default_rng(list(text.encode())).integers(0, 250, shape, np.uint8)


def fill(folder, names, shape=(11, 13)):
    folder.mkdir(exist_ok=True)
    for name in names:
        if name.endswith(("png", "jpg")):
            Image.fromarray(image(name, shape)).save(folder / name)
        else:
            tifffile.imwrite(folder / name, image(name, shape))
    return folder


def read(path, **stated):
    with open_volume(path, **{"voxel_size": (1, 1, 1), **stated}) as volume:
        return volume.read(Box.of(volume.spatial))


def refusal(path, **stated):
    with pytest.raises(BadInput) as caught:
        read(path, **stated)
    return str(caught.value)


def offered(text):
    """Return the patterns that a message offers."""
    return re.findall(r"`pattern` '([^']+)'", text)


@pytest.mark.parametrize(
    "names",
    [
        ["s1.tif", "s2.tif", "s10.tif"][:2],
        ["plane_0009.png", "plane_0010.png", "plane_0011.png"],
        ["z=0.tif", "z=10.tif", "z=20.tif"],
        ["pos2_t001_z7.tif", "pos2_t001_z8.tif"],
        ["slice_00001_z=0.0050um.tif", "slice_00002_z=0.0100um.tif", "slice_00003_z=0.0151um.tif"],
        ["7.png", "8.png", "9.png", "10.png"],
        ["only.png"],
    ],
)
@pytest.mark.parametrize("tail", ["", "x"])
def test_names_that_differ_in_one_number_are_a_stack(tmp_path, names, tail):
    names = [f"{tail}{name}" for name in names]
    folder = fill(tmp_path / "stack", names)
    (folder / "notes.txt").write_text("left aside")
    np.testing.assert_array_equal(read(folder)[0], np.stack([image(name) for name in names]))


@pytest.mark.parametrize(
    ("kind", "values", "form"),
    [
        ("channels", ["00", "01", "02"], "img_ch{}_z{}.tif"),
        ("channels", ["1", "2"], "C{}-stack-{}.tif"),
        ("channels", ["1", "2"], "cell_w{}_s1_z{}.tif"),
        ("positions", ["0", "1"], "run_pos{}_z{}.tif"),
        ("positions", ["1", "2"], "a_s{}_z{}.png"),
        ("positions", ["01", "02"], "A01F{}Z{}.tif"),
        ("positions", ["1", "2"], "nd_xy{}z{}.tif"),
        ("time points", ["001", "002"], "film_t{}_z{}.tif"),
        ("values of a second number", ["1", "2"], "sec{}_z{}.tif"),
        ("values of a second number", ["3", "4"], "mosaic_{}_{}.tif"),
    ],
)
def test_what_the_names_tell_apart_beside_planes_is_refused_and_the_offered_pattern_works(tmp_path, kind, values, form):
    planes = ["1", "2", "3", "5"][:3]
    folder = fill(tmp_path / "a", [form.format(v, z) for v in values for z in planes])
    text = refusal(folder)
    assert f"holds {len(values)} {kind} ({', '.join(values)}, as in {form.format(values[0], '1')}" in text
    stacks = offered(text)
    assert len(stacks) == (2 if kind in ("channels", "time points") else 1)
    right = np.stack([image(form.format(values[0], z)) for z in planes])
    np.testing.assert_array_equal(read(folder, pattern=stacks[-1])[0], right)
    every = np.stack([[image(form.format(v, z)) for z in planes] for v in values])
    if kind == "channels":
        np.testing.assert_array_equal(read(folder, pattern=stacks[0]), every)
    if kind == "time points":
        assert "`time` N" in text
        for time in range(2):
            np.testing.assert_array_equal(read(folder, pattern=stacks[0], time=time)[0], every[time])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("channels", ["img_ch00.tif", "img_ch01.tif"]),
        ("channels", ["cell_c1.png", "cell_c2.png"]),
        ("time points", ["a_t001.tif", "a_t002.tif"]),
        ("positions", ["pos0.tif", "pos1.tif"]),
        ("positions", ["plate_XY01.tif", "plate_XY02.tif"]),
    ],
)
def test_images_that_are_no_planes_are_refused(tmp_path, kind, names):
    folder = fill(tmp_path / "a", names)
    text = refusal(folder)
    assert f"holds 2 {kind}" in text
    assert "{z}.png' if they are planes" in text or "{z}.tif' if they are planes" in text
    for pattern in offered(text):
        stated = {"pattern": pattern, **({"time": 0} if "{t}" in pattern else {})}
        made = read(folder, **stated)
        right = np.stack([image(name) for name in names])
        np.testing.assert_array_equal(made.reshape(-1, 11, 13), right[: len(made.reshape(-1, 11, 13))])


def test_a_letter_that_may_mean_slice_or_series_is_a_warning(tmp_path, caplog):
    read(fill(tmp_path / "a", ["s1.tif", "s2.tif"]))
    assert "taken as the planes of one stack; if they are positions" in caplog.text


@pytest.mark.parametrize(
    ("numbers", "first"),
    [((1, 2, 4), "plane 3,"), ((0, 10, 20, 50, 60), "plane 30 and 1 more"), ((7, 9, 10, 14), "plane 8 and 3 more")],
)
def test_gaps_are_refused_and_can_be_closed(tmp_path, numbers, first):
    names = [f"stack_{n:03d}.tif" for n in numbers]
    folder = fill(tmp_path / "a", names)
    text = refusal(folder)
    assert f"lacks {first}" in text
    assert f"lacks {first}" in refusal(folder, pattern="stack_{z}.tif")
    np.testing.assert_array_equal(read(folder, pattern=offered(text)[0])[0], np.stack([image(n) for n in names]))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["p_1.tif", "p_01.tif", "p_2.tif"], r"holds plane 1 twice, p_1\.tif and p_01\.tif|p_01\.tif and p_1\.tif"),
        (["p_1.tif", "p_1.tiff"], r"p_1\.tif and p_1\.tiff, twice the same plane"),
        (["p_1.tif", "p_2.tif", "p_2 copy.tif"], r"holds p_2 copy\.tif and p_2\.tif.*(both number 2|differ)"),
        (["dapi_1.tif", "gfp_1.tif"], r"holds dapi_1\.tif and gfp_1\.tif, both number 1: give `pattern` 'dapi_\{z\}"),
        (["left.png", "right.png"], r"left\.png and right\.png, whose names differ in more than a number"),
    ],
)
def test_two_files_that_may_be_the_same_plane_are_named(tmp_path, names, words):
    assert re.search(words, refusal(fill(tmp_path / "a", names)))


def test_a_pattern_takes_any_names_in_natural_order(tmp_path):
    names = ["b10.png", "b9.png", "left.png"]
    folder = fill(tmp_path / "a", [*names, "mask.tif"])
    right = np.stack([image(name) for name in ["b9.png", "b10.png", "left.png"]])
    np.testing.assert_array_equal(read(folder, pattern="*.png")[0], right)
    np.testing.assert_array_equal(read(folder, pattern="b?.png")[0, 0], image("b9.png"))


def test_channels_have_the_names_that_stand_in_the_pattern(tmp_path):
    folder = fill(tmp_path / "a", [f"{c}_{z}.png" for c in ("DAPI", "GFP") for z in (1, 2)])
    volume = open_volume(folder, pattern="{c}_{z}.png", voxel_size=(1, 1, 1))
    assert (volume.axes, volume.channel_names) == ("czyx", ("DAPI", "GFP"))
    np.testing.assert_array_equal(
        read(folder, pattern="{c}_{z}.png", channels=["GFP"])[0], np.stack([image("GFP_1.png"), image("GFP_2.png")])
    )


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{pos}_{z}.png", r"holds \{pos\}: write \{z\}"),
        ("{z}_{z}.png", r"holds \{z\} twice"),
        ("sub/{z}.png", "names a folder"),
        ("x{z}.png", r"no image that fits `pattern` 'x\{z\}\.png': it holds DAPI_1\.png"),
        ("*_{z}.png", r"holds DAPI_1\.png and GFP_1\.png, both z = 1"),
        ("{c}_*{z}.png", "lacks the image of c = GFP, z = 2"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(tmp_path, pattern, words):
    folder = fill(tmp_path / "a", ["DAPI_1.png", "DAPI_2.png", "GFP_1.png"])
    assert re.search(words, refusal(folder, pattern=pattern))


def test_images_of_another_size_or_type_are_named(tmp_path):
    folder = fill(tmp_path / "a", ["1.png", "2.png"])
    fill(folder, ["3.png"], (11, 14))
    assert re.search(r"3\.png is \(11, 14\) uint8, 1\.png is \(11, 13\) uint8", refusal(folder))
    fill(folder, ["3.png"], (11, 13, 3))
    assert re.search(r"3\.png is \(11, 13, 3\)", refusal(folder))


def test_coloured_slices(tmp_path):
    folder = fill(tmp_path / "a", ["1.png", "2.png"], (11, 13, 3))
    right = np.stack([image(n, (11, 13, 3)) for n in ("1.png", "2.png")]).transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(read(folder), right)
    np.testing.assert_array_equal(read(folder, channels=["green"]), right[1:2])
    assert "colour image" in refusal(folder, pattern="{c}.png")


def test_a_pattern_or_an_image_is_refused_where_there_is_none_to_choose(tmp_path):
    fill(tmp_path / "a", ["1.tif", "1.png"])
    assert "leave out `pattern`" in refusal(tmp_path / "a" / "1.tif", pattern="*")
    assert "leave out `image`" in refusal(tmp_path / "a" / "1.png", image=0)
    assert "leave out `image`" in refusal(tmp_path / "a", image=0)


def test_a_pattern_in_the_place_of_a_path_is_answered_by_the_flag_that_takes_it(tmp_path):
    fill(tmp_path / "a", ["s2.tif", "s1.tif"])
    with pytest.raises(NotFound) as caught:
        open_volume(tmp_path / "a" / "s*.tif")
    folder, pattern = re.search(r"the folder (\S+) and give `pattern` '(.*)'", str(caught.value)).groups()
    with open_volume(folder, pattern=pattern) as volume:
        assert volume.spatial[0] == 2


def test_a_folder_with_a_stack_in_one_file_says_to_name_that(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 5, 6), np.uint8), photometric="minisblack")
    with pytest.raises(BadInput, match=r"stack\.tif has 3 pages, .* name the file itself, (\S+stack\.tif)$") as error:
        open_volume(tmp_path)
    with open_volume(str(error.value).rpartition(" ")[2]) as volume:
        assert volume.spatial == (3, 5, 6)
