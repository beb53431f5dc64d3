"""Report the progress of long loops to listeners, such as the progress bar of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Listener = Callable[[str, int, int], None]
"""Called with the name of the loop, the steps done and the total number of steps; 0 of 0 ends the loop."""
Item = TypeVar("Item")
_listeners: list[Listener | None] = [None]


def counted(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items and report each one when it is done; `what` names the loop in a word or two, such as `comparing`."""
    for done, item in enumerate(items, start=1):
        yield item
        if (listener := _listeners[-1]) is not None:
            listener(what, done, total)
    if (listener := _listeners[-1]) is not None:
        listener(what, 0, 0)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Call a listener for all steps counted in this context; None hides them from outer listeners."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.pop()
