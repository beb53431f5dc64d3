"""Volumes that lie on each other are found by their names; what has no partner is named before anything starts."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.protocol import Need
from vol2vol.recipes.pairing import paired

NEEDS = (Need(name="source"), Need(name="target", along="source"))


@dataclass
class Named:
    path: str
    spatial: tuple[int, int, int] = (4, 30, 30)
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    unit: str = ""
    sized: bool = False
    placed: bool = False


def pair(source, target, needs=NEEDS):
    volumes = {"source": [Named(f"in/{name}") for name in source], "target": [Named(f"out/{name}") for name in target]}
    made = paired(needs, volumes)
    return [(a.path[3:], b.path[4:]) for a, b in zip(made["source"], made["target"], strict=False)]


@given(st.lists(st.integers(0, 200), min_size=2, max_size=12, unique=True), st.randoms())
def test_partners_are_found_in_any_order(numbers, random):
    other = numbers[:]
    random.shuffle(other)
    made = pair([f"cell {n}_IM.tif" for n in numbers], [f"cell {n}_GT.ome.tif" for n in other])
    assert made == [(f"cell {n}_IM.tif", f"cell {n}_GT.ome.tif") for n in numbers]


def test_names_that_are_equal_or_lie_in_folders_of_their_own():
    assert pair(["b.png", "a.png"], ["a.tif", "b.tif"]) == [("b.png", "b.tif"), ("a.png", "a.tif")]
    made = pair(["IM_day1_s10.tif", "IM_day1_s1.tif"], ["GT_day1_s1.tif", "GT_day1_s10.tif"])
    assert made == [("IM_day1_s10.tif", "GT_day1_s10.tif"), ("IM_day1_s1.tif", "GT_day1_s1.tif")]


def test_names_that_share_nothing_keep_their_order(caplog):
    assert pair(["rat.tif", "cow.tif"], ["x.tif", "y.tif"]) == [("rat.tif", "x.tif"), ("cow.tif", "y.tif")]
    assert pair(["one.tif"], ["other.tif"]) == [("one.tif", "other.tif")]


def test_what_has_no_partner_is_listed():
    with pytest.raises(BadInput, match=r"in/c3_IM.tif \(source\), out/c4_GT.tif \(target\): leave them out"):
        pair(["c1_IM.tif", "c2_IM.tif", "c3_IM.tif"], ["c1_GT.tif", "c2_GT.tif", "c4_GT.tif"])


def test_equal_names_in_several_folders_keep_their_order():
    assert pair(["x/img.tif", "y/img.tif"], ["v/img.tif", "w/img.tif"])[0] == ("x/img.tif", "v/img.tif")


def test_domains_that_are_drawn_apart_are_left_as_they_are():
    needs = (Need(name="source"), Need(name="target"))
    assert pair(["c1.tif", "c2.tif"], ["c3.tif", "c1.tif"], needs) == [("c1.tif", "c3.tif"), ("c2.tif", "c1.tif")]


def test_partners_of_different_size_are_named():
    volumes = {"source": [Named("a.tif")], "target": [Named("b.tif", spatial=(4, 30, 31))]}
    with pytest.raises(BadInput, match=r"b.tif has \(4, 30, 31\) voxels, its image a.tif .*prepare --crop"):
        paired(NEEDS, volumes)
