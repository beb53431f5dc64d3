"""Tests of pairing: aligned volumes are paired by their names, and volumes without a partner are listed first."""

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
    members: tuple[str, ...] = ()


def pair(source, target, needs=NEEDS):
    volumes = {"source": [Named(f"in/{name}") for name in source], "target": [Named(f"out/{name}") for name in target]}
    pairs = paired(needs, volumes)
    return [(a.path[3:], b.path[4:]) for a, b in zip(pairs["source"], pairs["target"], strict=False)]


@given(st.lists(st.integers(0, 200), min_size=2, max_size=12, unique=True), st.randoms())
def test_partners_are_found_in_any_order(numbers, random):
    other = numbers[:]
    random.shuffle(other)
    pairs = pair([f"cell {n}_IM.tif" for n in numbers], [f"cell {n}_GT.ome.tif" for n in other])
    assert pairs == [(f"cell {n}_IM.tif", f"cell {n}_GT.ome.tif") for n in numbers]


def test_names_that_are_equal_or_lie_in_folders_of_their_own():
    assert pair(["b.png", "a.png"], ["a.tif", "b.tif"]) == [("b.png", "b.tif"), ("a.png", "a.tif")]
    pairs = pair(["IM_day1_s10.tif", "IM_day1_s1.tif"], ["GT_day1_s1.tif", "GT_day1_s10.tif"])
    assert pairs == [("IM_day1_s10.tif", "GT_day1_s10.tif"), ("IM_day1_s1.tif", "GT_day1_s1.tif")]


def test_names_that_share_nothing_keep_their_order(caplog):
    assert pair(["rat.tif", "cow.tif"], ["x.tif", "y.tif"]) == [("rat.tif", "x.tif"), ("cow.tif", "y.tif")]
    assert pair(["one.tif"], ["other.tif"]) == [("one.tif", "other.tif")]


def test_what_has_no_partner_is_listed():
    with pytest.raises(
        BadInput,
        match=r"in/c3_IM.tif \(source\), out/c4_GT.tif \(target\): no partner has a matching name",
    ):
        pair(["c1_IM.tif", "c2_IM.tif", "c3_IM.tif"], ["c1_GT.tif", "c2_GT.tif", "c4_GT.tif"])


def test_equal_names_in_several_folders_are_told_apart_by_the_folders():
    pairs = pair(["rat/im.tif", "cow/im.tif", "ox/im.tif"], ["cow/gt.zarr", "ox/gt.zarr", "rat/gt.zarr"])
    assert [target for _, target in pairs] == ["rat/gt.zarr", "cow/gt.zarr", "ox/gt.zarr"]
    pairs = pair(["a.h5:/raw", "b.h5:/raw"], ["b.h5:/clean", "a.h5:/clean"])
    assert pairs == [("a.h5:/raw", "a.h5:/clean"), ("b.h5:/raw", "b.h5:/clean")]
    assert pair(["x/im.tif", "y/im.tif"], ["v/im.tif", "w/im.tif"])[0] == ("x/im.tif", "v/im.tif")


def test_numbers_after_a_point_are_no_suffix():
    assert pair(["cell.1", "cell.2"], ["mask.2", "mask.1"]) == [("cell.1", "mask.1"), ("cell.2", "mask.2")]


@pytest.mark.parametrize("names", [["a.jpg", "a.png", "b.png"], ["b.tif", "a.tif", "a.ome.tif"]])
def test_two_files_that_fit_one_partner_are_named(names):
    match = r"in/a\.\w+ and in/a(\.ome)?\.\w+ \(source\) have the same name"
    with pytest.raises(BadInput, match=match):
        pair(names, ["a.tif", "b.tif", "c.tif"])
    with pytest.raises(BadInput, match=match.replace("in", "out").replace("source", "target")):
        pair(["a.tif", "b.tif", "c.tif"], names)


def test_one_volume_given_twice_keeps_the_order():
    assert pair(["a.tif", "a.tif"], ["y.tif", "x.tif"]) == [("a.tif", "y.tif"), ("a.tif", "x.tif")]


def test_names_that_differ_in_case_alone_are_told_apart():
    assert pair(["A.tif", "a.tif"], ["a.tif", "A.tif"]) == [("A.tif", "A.tif"), ("a.tif", "a.tif")]
    assert pair(["Cell1.tif", "Cell2.tif"], ["cell2.tif", "cell1.tif"])[0] == ("Cell1.tif", "cell1.tif")


@pytest.mark.parametrize(
    ("first", "second", "warned"),
    [
        (["d1_z00.png", "d1_z01.png"], ["d2_z1.tif", "d2_z2.tif"], "S1/d1_z00.png and S2/d2_z1.tif are taken"),
        (["z1.png", "z3.png", "z5.png"], ["z1.png", "z2.png", "z3.png"], "S1/z3.png and S2/z2.png are taken"),
        (["d1_z00.png", "d1_z01.png"], ["d2_z0.tif", "d2_z1.tif"], ""),
        (["z0.png", "z1.png"], [], ""),
        (["a.png", "b.png"], ["z4.png", "z5.png"], ""),
    ],
)
def test_planes_of_other_numbers_are_warned_of(first, second, warned, caplog):
    volumes = {"source": [Named("S1", members=tuple(first))], "target": [Named("S2", members=tuple(second))]}
    paired(NEEDS, volumes)
    assert (warned in caplog.text) if warned else not caplog.text


def test_domains_that_are_drawn_apart_are_left_as_they_are():
    needs = (Need(name="source"), Need(name="target"))
    assert pair(["c1.tif", "c2.tif"], ["c3.tif", "c1.tif"], needs) == [("c1.tif", "c3.tif"), ("c2.tif", "c1.tif")]


def test_partners_of_different_size_are_named():
    volumes = {"source": [Named("a.tif")], "target": [Named("b.tif", spatial=(4, 30, 31))]}
    with pytest.raises(BadInput, match=r"b.tif has \(4, 30, 31\) voxels, its image a.tif .*prepare `crop`"):
        paired(NEEDS, volumes)


def test_all_partners_that_differ_are_listed_and_counted():
    volumes = {
        "source": [Named(f"in/{i}.tif") for i in range(12)],
        "target": [Named(f"out/{i}.tif") for i in range(12)],
    }
    for i in range(7):
        volumes["target"][i].spatial = (4, 30, 40 + i)
    volumes["target"][9].sized = volumes["source"][9].sized = True
    volumes["target"][9].voxel_size = (1.0, 2.0, 2.0)
    with pytest.raises(BadInput) as caught:
        paired(NEEDS, volumes)
    message = str(caught.value)
    assert message.startswith(
        "8 of 12 pairs differ: out/0.tif has (4, 30, 40) voxels, its image in/0.tif (4, 30, 30); out/1"
    )
    assert "out/4.tif" in message
    assert "out/5.tif" not in message
    cures = "crop one of them, such as with vol2vol prepare `crop`; resample one of them, or give the voxel size"
    assert f" and 3 more: {cures}" in message


def test_other_voxel_sizes_are_named():
    volumes = {"source": [Named("a.tif", sized=True)], "target": [Named("b.tif", (4, 30, 30), (1, 2, 2), sized=True)]}
    with pytest.raises(
        BadInput, match=r"^b.tif has voxels of \(1, 2, 2\), its image a.tif \(1.0, 1.0, 1.0\): resample"
    ):
        paired(NEEDS, volumes)


def test_many_doubles_and_many_without_a_partner_are_counted():
    doubles = [f"{i}{suffix}" for i in range(7) for suffix in (".jpg", ".png")]
    with pytest.raises(BadInput, match=r"in/4.jpg and in/4.png \(source\) and 2 more have the same name"):
        pair(doubles, [f"{i}.tif" for i in range(14)])
    with pytest.raises(
        BadInput, match=r"in/c6.tif \(source\) and 2 more: no partner has a matching name: leave them out"
    ):
        pair([f"c{i}.tif" for i in range(9)], ["c0.tif", "c1.tif"])


def test_other_numbers_of_volumes_whose_names_say_nothing_are_named():
    with pytest.raises(
        BadInput, match=r"3 source volumes \(in/rat.tif, in/cow.tif, in/ox.tif\) and 2 target volumes \(out/"
    ):
        pair(["rat.tif", "cow.tif", "ox.tif"], ["x.tif", "y.tif"])


def test_many_places_that_are_apart_are_warned_of_in_one_line(caplog):
    def placed(path, z):
        named = Named(path, placed=True)
        named.offset = (z, 0.0, 0.0)
        return named

    for count, lines in ((2, 2), (8, 1)):
        volumes = {"source": [placed(f"in/{i}", 0.0) for i in range(count)]}
        volumes["target"] = [placed(f"out/{i}", 9.0) for i in range(count)]
        caplog.clear()
        paired(NEEDS, volumes)
        warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == lines
        assert warned[0].endswith(": is it the same tissue?")
    assert "and 3 more" in warned[0]
