"""One block after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def local(fn: Callable[[Item], None], items: Iterable[Item], *, done: Callable[[Item], None] | None = None) -> None:
    """Apply `fn` to every item in order and report each when it is finished."""
    for item in items:
        fn(item)
        if done is not None:
            done(item)
