"""Functions have 40 lines, modules 300; a function that is longer says why."""

import ast
from pathlib import Path

import pytest

import vol2vol

HOUSE = Path(vol2vol.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))
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


def test_long_functions_are_found():
    body = "\n".join("    pass" for _ in range(FUNCTIONS))
    assert too_long(f"def f():\n{body}\n") == ["f"]
    assert too_long(f'def f():\n    """Do. Long because."""\n{body}\n') == []
    assert too_long(f"def f():\n{body[9:]}\n") == []
