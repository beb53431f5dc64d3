"""Tests that all verbs have a public function in Python, and that docs/python.md names it."""

import re
from pathlib import Path

import pytest

import vol2vol
from vol2vol.cli import VERBS
from vol2vol.cli.evaluate_ import _own

PAGE = (Path(vol2vol.__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `vol2vol (.+?)` \| (.+) \|$", PAGE, re.MULTILINE))
NAMES = {verb: re.findall(r"`(\w+)`", functions) for row, functions in ROWS.items() for verb in re.split(r"`?, `", row)}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_functions_with_public_names(verb):
    assert verb in NAMES, f"docs/python.md does not state the functions of vol2vol {verb}"
    assert NAMES[verb]
    for name in NAMES[verb]:
        assert name in vol2vol.__all__
        assert callable(getattr(vol2vol, name))


@pytest.mark.parametrize("kind", _own())
def test_every_kind_of_evaluation_is_a_function(kind):
    assert f"evaluate_{kind}" in NAMES["evaluate"]


def test_the_page_names_every_public_function():
    """Public classes are the arguments and results of these functions."""
    functions = {name for name in vol2vol.__all__ if name.islower() and name != "__version__"}
    assert functions - {name for names in NAMES.values() for name in names} == {"create_volume", "footprint"}
