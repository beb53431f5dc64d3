"""Functions have 40 lines, modules 300; what is longer says why, or is a command with little code below its help."""

import ast
from pathlib import Path

import pytest

import vol2vol

HOUSE = Path(vol2vol.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))
FUNCTIONS = 40
BELOW = 25
"""Lines of code below the help of a command that is longer."""


def too_long(text, *, command):
    """Return the functions that are too long, and do not say why or hold too much code."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= FUNCTIONS:
            said = " ".join((ast.get_docstring(node) or "").split())
            spoken = "Args:" in said if command else "Long because" in said
            if not spoken or (command and node.end_lineno - node.body[0].end_lineno > BELOW):
                found.append(node.name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_function_or_module_is_long_without_a_reason(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not too_long(text, command=path.parent.name == "cli")


def test_long_functions_are_found():
    body = "\n".join("    pass" for _ in range(FUNCTIONS))
    assert too_long(f"def f():\n{body}\n", command=False) == ["f"]
    assert too_long(f'def f():\n    """Do. Long because."""\n{body}\n', command=False) == []
    assert too_long(f'def f():\n    """Do.\n\n    Args:\n    """\n{body}\n', command=True) == ["f"]
    assert too_long(f"def f():\n{body[9:]}\n", command=False) == []
