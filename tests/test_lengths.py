"""Modules have at most 300 lines, files of tests 400, functions 40; a longer function gives its reason."""

import ast
from pathlib import Path

import pytest

import vol2vol

HOUSE = Path(vol2vol.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))
TESTS = Path(__file__).parent
TEST_FILES = sorted(TESTS.rglob("*.py"))
FUNCTIONS = 40


def too_long(text):
    """Return the functions that are too long and do not say why."""
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [n for n in functions if n.end_lineno - n.lineno >= FUNCTIONS]
    return [n.name for n in long if "Long because" not in " ".join((ast.get_docstring(n) or "").split())]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_function_or_module_is_long_without_a_reason(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not too_long(text)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_file_of_tests_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_all_rooms_of_tests_are_counted():
    rooms = {path.relative_to(TESTS).parts[0] for path in TEST_FILES}
    assert {"cli", "evaluation", "metrics", "report", "volumes"} < rooms


def test_long_functions_are_detected():
    body = "\n".join("    pass" for _ in range(FUNCTIONS))
    assert too_long(f"def f():\n{body}\n") == ["f"]
    assert too_long(f'def f():\n    """Do. Long because."""\n{body}\n') == []
    assert too_long(f"def f():\n{body[9:]}\n") == []
