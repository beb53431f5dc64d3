import pytest

from vol2vol.report.rows import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, wording.MISSING),
        (float("inf"), wording.MISSING),
        (0.0, "0"),
        (25.0, "25.0"),
        (1, "1.00"),
        (648.4, "648"),
        (12345678.0, "12,345,678"),
        (0.0831, "0.0831"),
        (-0.5, "-0.500"),
    ],
)
def test_numbers(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, wording.MISSING), (1.25e6, "1.25 M"), (999, "999 "), (3.2e12, "3.2 T")]
)
def test_amounts(value, text):
    assert wording.amount(value) == text
