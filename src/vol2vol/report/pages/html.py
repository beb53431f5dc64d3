"""Self-contained HTML pages: templates rendered with everything escaped, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vol2vol.errors import CannotWrite
from vol2vol.report.rows import wording


def render(template: str, **context: Any) -> str:
    """Return a template of this package filled in; what it names must be there."""
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
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from error
    return path
