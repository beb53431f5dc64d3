import pytest

from vol2vol.errors import BadInput
from vol2vol.report.rows.checkpoint_roles import pick, pick_several, smallest_best
from vol2vol.report.rows.rows import Row, Value

FID = "distance/inception/fid/xy"


def rows(*values, name=FID):
    return [
        Row(trial=f"t{n}", source="a", target="b", translator="m", checkpoint=n, values={name: Value(value=value)})
        for n, value in enumerate(values)
    ]


def numbers(by_role):
    return [by_role[role].number(FID) for role in ("best", "middle", "worst")]


def test_middle_is_nearest_to_the_median():
    assert numbers(pick(rows(50, 31, 90, 33, 44), FID)) == [31, 44, 90]
    assert numbers(pick(rows(50, 31, 90, 33, 44), FID, lowest=False)) == [90, 44, 31]
    assert numbers(pick(rows(1, 2, 3, 4, 100, 200), FID)) == [1, 3, 200]  # median 3.5: the better of two as near


def test_values_that_are_missing_are_left_out():
    assert numbers(pick(rows(None, 3, float("nan"), 1, 2), FID)) == [1, 2, 3]
    with pytest.raises(BadInput, match="none of 2 trials has the value"):
        pick(rows(None, None), FID)
    with pytest.raises(BadInput, match="none of 0"):
        pick([], FID)


@pytest.mark.parametrize("count", [1, 2])
def test_few_rows_stand_for_several(count):
    chosen = numbers(pick(rows(*range(count)), FID))
    assert chosen[0] == 0
    assert chosen[2] == count - 1


def test_three_of_each_as_in_the_paper():
    chosen = pick_several(rows(*range(20)), FID)
    assert [[row.checkpoint for row in chosen[role]] for role in chosen] == [[0, 1, 2], [9, 10, 8], [19, 18, 17]]


def test_equal_values_never_take_one_row_twice():
    chosen = pick_several(rows(*[5] * 9), FID)
    assert len({row.trial for several in chosen.values() for row in several}) == 9


@pytest.mark.parametrize(
    ("name", "lowest", "best"),
    [
        ("structure/lncc", None, 3.0),
        ("structure/lncc", True, -1.0),
        ("label_free/foreground", None, 0.8),  # 1.3 is further from 1, by ratio
        ("label_free/foreground", False, 3.0),
        ("mismatch/tile", None, -1.0),
        ("cost/voxels_per_second", None, 3.0),
        ("not/known", None, -1.0),
        ("seams/sgr/z/p", None, -1.0),
    ],
)
def test_what_is_good_is_what_the_measure_says_unless_told_otherwise(name, lowest, best):
    values = [0.1, 0.8, 3.0, 1.3, -1.0]
    chosen = pick(rows(*values, name=name), name, lowest)
    assert chosen["best"].number(name) == best
    if "foreground" in name and lowest is None:
        assert chosen["worst"].number(name) == -1.0, "what is no ratio"
        assert chosen["middle"].number(name) == 3.0
    assert smallest_best(name, lowest) == (None if best == 0.8 else best < 0)
