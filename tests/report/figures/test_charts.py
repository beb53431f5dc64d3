from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from vol2vol.report.figures.charts import Difference, Point, courses, forest, pareto, scatter, scatters
from vol2vol.report.rows.rows import Value

NUMBER = st.floats(-100, 100)


@given(st.lists(st.tuples(NUMBER, NUMBER), max_size=12))
def test_the_front_is_what_nothing_surpasses(points):
    front = pareto(points)
    assert set(front) <= set(points)
    for x, y in points:
        surpassed = any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) == (not surpassed)
    assert front == sorted(front)


def is_svg(svg):
    return ElementTree.fromstring(svg).tag.endswith("svg")


def test_plots_bear_what_is_missing():
    some = [Point(1.0, Value(value=0.5, low=0.4, high=0.6), "a"), Point(10.0, Value(value=None), "b")]
    assert is_svg(scatter(some, x="x", y="y", log_x=True, front=True))
    assert is_svg(scatters({"one": some, "two": some[:1]}, y="IoU"))
    lines = [Difference("a - b", Value(value=0.1)), Difference("<b>", Value(value=None))]
    assert is_svg(forest({"kind": lines, "other": lines[:1]}, x="difference"))


def test_courses_show_mean_and_spread_over_seeds():
    lines = {"flat": {10: [60.0, 62.0], 20: [30.0]}, "deep": {10: [50.0]}}
    with_bars, plain = (
        courses(by_name, x="epoch", y="FID", baseline=("untranslated", 56.6))
        for by_name in (lines, {"deep": lines["deep"]})
    )
    assert is_svg(with_bars)
    assert len(with_bars) > len(plain)
