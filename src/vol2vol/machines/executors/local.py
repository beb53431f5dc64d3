"""This process and others of this machine, which it starts where that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vol2vol.errors import WorkerLost
from vol2vol.machines.executors.crew import Crew, Item, Result, always, given_up, single


def local(
    fn: Callable[[Item, int], Iterable[Result]],
    items: Iterable[Item],
    *,
    workers: int,
    here: Callable[[Iterator[Item]], Iterator[Result]] | None = None,
    retries: int = 2,
    name: Callable[[Item], str] = str,
    ready: Callable[[Item], bool] = always,
    lost: Callable[[Item, WorkerLost], Result] = given_up,
    size: Callable[[Item], int] = single,
) -> Iterator[Result]:
    """Apply `fn` to every item in `workers` spawned processes, or in one less and this one; yield results as they come.

    With `here` this process begins at once: `here` works through an iterator of items, of which it takes one whenever
    it has room for the next; its errors end the map. Another process is then started as soon as the items left, at the
    pace of this process, take longer than a start; `size` is the number of an item's results. An item is not begun
    before it is `ready`, which is asked again after every result. A process that dies is replaced, and its item
    repeated by others, at most `retries` times; then what `lost` makes of it is yielded, by default `WorkerLost`
    raised. A `UserError` of `fn` is repeated as often (after a pause: networks recover) unless another try cannot mend
    it. The processes end with this one, however it ends.
    """
    crew = Crew(fn, items, workers, alone=here is None, retries=retries, name=name, ready=ready, lost=lost, size=size)
    try:
        while not crew.is_done():
            if here is not None and (taken := crew.taken_here()) is not None:
                for result in here(taken):
                    crew.pace.count()
                    yield result
                    yield from crew.results()
            yield from crew.results(wait=True)
    finally:
        crew.dismiss()
