from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.volumes.axes import (
    convert,
    from_czyx,
    known_unit,
    natural,
    settle_axes,
    to_czyx,
    user_unit,
)
from vol2vol.volumes.space import settle_voxel_size


@given(st.permutations("tczyx"), st.sets(st.sampled_from("tcz")))
def test_any_stored_order_becomes_czyx_and_back(letters, missing):
    axes = "".join(a for a in letters if a not in missing)
    sizes = {"t": 1, "c": 2, "z": 3, "y": 4, "x": 5}
    raw = np.arange(np.prod([sizes[a] for a in axes])).reshape([sizes[a] for a in axes])
    block = to_czyx(raw, axes)
    assert block.shape == (2 if "c" in axes else 1, 3 if "z" in axes else 1, 4, 5)
    at = {"t": 0, "c": block.shape[0] - 1, "z": block.shape[1] - 1, "y": 1, "x": 3}
    assert block[at["c"], at["z"], 1, 3] == raw[tuple(at[a] for a in axes)]
    np.testing.assert_array_equal(from_czyx(block, axes), raw)


@pytest.mark.parametrize(
    ("axes", "shape", "given_axes", "settled"),
    [
        ("??", (4, 5), None, "yx"),
        ("???", (3, 4, 5), None, "zyx"),
        ("???", (3, 40, 50), None, "zyx"),
        ("???", (40, 50, 3), "YXC", "yxc"),
        ("?yx", (7, 4, 5), None, "zyx"),
        ("?yxc", (7, 4, 5, 3), None, "zyxc"),
        ("tyx", (7, 4, 5), "zyx", "zyx"),
        ("tczyx", (1, 2, 3, 4, 5), None, "tczyx"),
        ("xyz", (5, 4, 3), None, "xyz"),
    ],
)
def test_axes_are_settled_where_there_is_one_reading(axes, shape, given_axes, settled):
    assert settle_axes("cells", axes, shape, given_axes) == settled


@pytest.mark.parametrize(
    ("axes", "shape", "given_axes"),
    [
        ("????", (2, 3, 4, 5), None),
        ("???", (40, 50, 3), None),
        ("??yx", (2, 3, 4, 5), None),
        ("???", (3, 4, 5), "yx"),
        ("???", (3, 4, 5), "zzx"),
        ("???", (3, 4, 5), "abc"),
        ("zyx", (3, 4, 5), "xyz"),
        ("czyxc", (2, 3, 4, 5, 3), None),
    ],
)
def test_axes_that_would_be_a_guess_name_the_flag(axes, shape, given_axes):
    with pytest.raises(BadInput, match=r"^cells .*`axes`"):
        settle_axes("cells", axes, shape, given_axes)


def test_an_empty_array_is_refused():
    with pytest.raises(BadInput, match="empty"):
        settle_axes("cells", "zyx", (0, 4, 5), None)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nm", "nanometer"),
        ("Nanometers", "nanometer"),
        ("\N{MICRO SIGN}m", "micrometer"),
        ("\N{GREEK SMALL LETTER MU}m", "micrometer"),
        ("\\u00B5m", "micrometer"),
        ("micron", "micrometer"),
        ("microns", "micrometer"),
        ("nanometres", "nanometer"),
        ("Å", "angstrom"),
        ("A", "angstrom"),
        ("mm", "millimeter"),
        ("pixel", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_units_become_full_words(text, word):
    assert known_unit(text) == word


def test_a_wrong_unit_lists_the_right_ones():
    with pytest.raises(BadInput, match=r"`unit` furlong .*nanometer"):
        user_unit("furlong")


def test_lengths_convert_without_rounding_noise():
    assert convert(0.004, "micrometer", "nanometer") == 4.0
    assert convert(10.9, "angstrom", "nanometer") == 1.09
    assert convert(3.0, "", "nanometer") == 3.0


def test_voxel_size_from_metadata_user_or_both():
    stored_sizes = {"z": 40.0, "y": 4.0, "x": 4.0}
    assert settle_voxel_size("a", "zyx", stored_sizes, None) == (40, 4, 4)
    assert settle_voxel_size("a", "zyx", {}, [40, 4, 4]) == (40, 4, 4)
    assert settle_voxel_size("a", "zyx", stored_sizes, [40.1, 4, 4]) == (40.1, 4, 4)
    assert settle_voxel_size("a", "yx", {"y": 4.0, "x": 4.0}, None) == (1, 4, 4)
    assert settle_voxel_size("a", "yx", {}, [4, 5]) == (1, 4, 5)
    assert settle_voxel_size("a", "yx", {}, [2, 4, 5]) == (2, 4, 5)
    assert settle_voxel_size("a", "zyx", {"y": 4.0, "x": 4.0}, [40, 4, 4]) == (40, 4, 4)


def test_missing_and_contradictory_voxel_sizes_name_the_flag():
    assert settle_voxel_size("cells.tif", "zyx", {}, None) is None
    with pytest.raises(BadInput, match="no voxel size along z: give `voxel_size`"):
        settle_voxel_size("a", "zyx", {"y": 4.0, "x": 4.0}, None)
    with pytest.raises(BadInput, match=r"is 40,4,4, not 50,4,4: give `voxel_size` 40,4,4 or correct"):
        settle_voxel_size("a", "zyx", {"z": 40.0, "y": 4.0, "x": 4.0}, [50, 4, 4])
    stored_sizes = {"z": 0.0, "y": -4.0, "x": float("nan")}
    assert settle_voxel_size("a", "zyx", stored_sizes, [50, 4, 4]) == (50, 4, 4)
    assert settle_voxel_size("a", "zyx", stored_sizes, None) is None
    with pytest.raises(BadInput, match=r"a has no voxel size: give `voxel_size` Z,Y,X \(and `unit`\)"):
        settle_voxel_size("a", "zyx", {"z": 40.0}, None)
    with pytest.raises(BadInput, match=r"size along y, x is 4,4, not 50,8,8: give `voxel_size` 50,4,4 or"):
        settle_voxel_size("a", "zyx", {"z": 0.0, "y": 4.0, "x": 4.0}, [50, 8, 8])
    for wrong in ([4, 4], [1, 2, 3, 4], [0, 4, 4], [float("nan"), 4, 4], [-1, 4, 4]):
        with pytest.raises(BadInput, match="`voxel_size`"):
            settle_voxel_size("a", "zyx", {}, wrong)


def test_slices_sort_as_people_count():
    names = ["s10.tif", "s9.tif", "S1.tif", "a2b10", "a2b9", "10", "9"]
    assert sorted(names, key=natural) == ["9", "10", "a2b9", "a2b10", "S1.tif", "s9.tif", "s10.tif"]
