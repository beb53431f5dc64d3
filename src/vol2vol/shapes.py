"""Check the array shapes that signatures name, if `VOL2VOL_CHECK_SHAPES` is set, as in the tests.

`Annotated[Tensor, "batch channels *space"]` is a tensor of at least two axes. A word stands for the length of an axis,
`*word` for any number of axes, a number for itself and `_` for any length. A word means the same in all arguments and
in the result of one call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from inspect import signature
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

Voxels = Annotated[np.ndarray, "channels z y x"]
"""Voxels of a volume or of a box of it."""
Function = TypeVar("Function", bound=Callable[..., Any])
CHECKED = bool(os.environ.get("VOL2VOL_CHECK_SHAPES"))


def shaped(function: Function) -> Function:
    """Return a function that fails if a call succeeds with shapes that differ from its signature.

    Shapes are compared after the function has returned, so that its own errors come first. If shapes are not checked,
    the function is returned unchanged.
    """
    if not CHECKED:
        return function

    @cache
    def specs() -> Mapping[str, str]:
        hints = get_type_hints(function, include_extras=True)  # at the first call, when all names are defined
        return {name: spec for name, hint in hints.items() if (spec := _spec(hint)) is not None}

    names = signature(function)

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        arguments = names.bind(*args, **kwargs).arguments
        shapes = {name: shape for name, value in arguments.items() if (shape := _shape(value)) is not None}
        result = function(*args, **kwargs)
        if (shape := _shape(result)) is not None:
            shapes["return"] = shape
        _compare(f"{function.__module__}.{function.__qualname__}", shapes, specs())
        return result

    return checked  # type: ignore[return-value]


def _spec(hint: Any) -> str | None:
    """Return the axes that an annotation names, also where it allows None."""
    if get_origin(hint) is Annotated:
        return next((word for word in get_args(hint)[1:] if isinstance(word, str)), None)
    return next((spec for part in get_args(hint) if (spec := _spec(part)) is not None), None)


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of an array or tensor; None of anything else, such as a stand-in of a tracer."""
    shape = getattr(value, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape) else None


def _compare(where: str, shapes: Mapping[str, tuple[int, ...]], specs: Mapping[str, str]) -> None:
    """Raise `TypeError` unless all shapes fit their axes, with one meaning for each word."""
    known: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if name in specs:
            for word, lengths in _laid(where, name, shape, specs[name].split()):
                if word != "_" and known.setdefault(word, lengths) != lengths:
                    raise TypeError(f"{where}: {name} is {shape}, not ({specs[name]}) where {word} is {known[word]}")


def _laid(where: str, name: str, shape: tuple[int, ...], words: list[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each word of a spec with the lengths that it stands for."""
    starred = [at for at, word in enumerate(words) if word.startswith("*")]
    before = starred[0] if starred else len(words)
    after = len(words) - before - 1 if starred else 0
    if len(shape) < before + after or (not starred and len(shape) != before):
        raise TypeError(f"{where}: {name} is {shape}, not ({' '.join(words)})")
    many = shape[before : len(shape) - after]
    rest = [(n,) for n in shape[len(shape) - after :]] if after else []
    for word, lengths in zip(
        words, [*((n,) for n in shape[:before]), *([many] if starred else []), *rest], strict=True
    ):
        yield word, lengths
        if word.isdigit() and lengths != (int(word),):
            raise TypeError(f"{where}: {name} is {shape}, not ({' '.join(words)})")
