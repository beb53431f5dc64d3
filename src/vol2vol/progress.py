"""How far work has come: long loops count their steps, and whoever listens shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Listener = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all; 0 of 0 ends it."""
Item = TypeVar("Item")
_listeners: list[Listener | None] = [None]


def counted(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items and report after each one that it is done, in a word or two such as `comparing`."""
    for done, item in enumerate(items, start=1):
        yield item
        if (listener := _listeners[-1]) is not None:
            listener(what, done, total)
    if (listener := _listeners[-1]) is not None:
        listener(what, 0, 0)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Let a function hear of all steps that are counted inside; None keeps them from whoever listens outside."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.pop()
