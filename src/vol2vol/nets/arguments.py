"""Check the arguments of networks; messages name the nearest valid value."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from vol2vol.errors import BadInput

MAX_COUNT = 1 << 16
"""Maximum number of channels or knots; a greater argument is an error."""
MAX_LAYERS = 256
"""Maximum number of layers."""
_LAYERS = ("levels", "blocks", "n_layers")


def nearest(word: object, known: Sequence[str]) -> str:
    """Return "did you mean X?" where a known word is similar, otherwise the list of known words."""
    close = get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"


def arguments_in(scope: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an `__init__` from its `locals()`, taken before any other assignment."""
    return {name: value for name, value in scope.items() if name not in ("self", "__class__")}


def check_choice(what: str, value: object, known: Sequence[str]) -> None:
    """Raise `BadInput` unless the value is one of the known words."""
    if value not in known:
        raise BadInput(f"{what} {value!r} is unknown: {nearest(value, known)}")


def check_count(**counts: int) -> None:
    """Raise `BadInput`, naming the argument, unless all are integers from 1 to `MAX_COUNT` (layers: `MAX_LAYERS`)."""
    for what, value in counts.items():
        most = MAX_LAYERS if what in _LAYERS else MAX_COUNT
        if isinstance(value, int) and value > most:
            raise BadInput(f"{what} is {value}: it must be at most {most}")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{what} is {value!r}: it must be a whole number of at least 1")


def check_dims(dims: int) -> None:
    """Raise `BadInput` unless the number of spatial axes is 2 or 3."""
    if dims not in (2, 3):
        raise BadInput(f"dims is {dims!r}: use 2 for images or 3 for volumes")
