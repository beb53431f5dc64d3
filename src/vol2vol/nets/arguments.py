"""What the networks check about their arguments, in words a user can act on."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from vol2vol.errors import BadInput

MOST = 1 << 16
"""No network has more channels or knots; an argument beyond is damage."""
DEEPEST = 256
"""No network has more layers."""
_LAYERS = ("levels", "blocks", "n_layers")


def nearest(word: object, known: Sequence[str]) -> str:
    """Return "did you mean X?" where one of the known words is close, else the list of them."""
    close = get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"


def arguments_in(scope: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an `__init__`, given its `locals()` before anything else was assigned."""
    return {name: value for name, value in scope.items() if name not in ("self", "__class__")}


def check_choice(what: str, value: object, known: Sequence[str]) -> None:
    """Raise `BadInput` unless the value is one of the known words."""
    if value not in known:
        raise BadInput(f"{what} {value!r} is unknown: {nearest(value, known)}")


def check_count(**counts: int) -> None:
    """Raise `BadInput`, naming the argument, unless every value is a whole number of 1 to `MOST`, layers `DEEPEST`."""
    for what, value in counts.items():
        most = DEEPEST if what in _LAYERS else MOST
        if isinstance(value, int) and value > most:
            raise BadInput(f"{what} is {value}: it must be at most {most}")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{what} is {value!r}: it must be a whole number of at least 1")


def check_dims(dims: int) -> None:
    """Raise `BadInput` unless the number of spatial axes is 2 or 3."""
    if dims not in (2, 3):
        raise BadInput(f"dims is {dims!r}: use 2 for images or 3 for volumes")
