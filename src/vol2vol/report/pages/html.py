"""Render templates to self-contained HTML with all text escaped, and write pages whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vol2vol.files import write_text
from vol2vol.report.rows import wording


def render(template: str, **context: Any) -> str:
    """Return a template of this package rendered with `context`, which must define all names that it uses."""
    environment = Environment(
        loader=PackageLoader("vol2vol.report.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(number=wording.number, amount=wording.amount, words=wording)
    return environment.get_template(template).render(**context)


def write_page(path: Path, text: str) -> Path:
    """Write a page and return its path. Raises `CannotWrite`."""
    return write_text(path, text)
