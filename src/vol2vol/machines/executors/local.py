"""Map over items in this process and in others of this machine, which are started when they are worth it."""

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
    """Apply `fn` to every item in `workers` processes and yield the results as they arrive.

    Without `here` all are spawned. With it, this process is one of them and starts at once: `here` maps an iterator of
    items to results and takes the next item when it can; its errors end the map. Another process is started as soon as
    the remaining items, at the pace of this process, take longer than a start; `size` is the number of results of an
    item. An item is started only when it is `ready`, which is evaluated again after every result. A process that dies
    is replaced, and others retry its item, at most `retries` times; then the result of `lost` is yielded, by default
    `WorkerLost` is raised. A `UserError` of `fn` is retried as often (after a pause, since networks recover) unless a
    retry cannot fix it. The processes end with this one, however it ends.
    """
    crew = Crew(fn, items, workers, alone=here is None, retries=retries, name=name, ready=ready, lost=lost, size=size)
    try:
        while not crew.is_done():
            if here is None or (taken := crew.taken_here()) is None:
                yield from crew.results(wait=True)
                continue
            for result in here(taken):
                crew.pace.count()
                yield result
                yield from crew.results()
    finally:
        crew.dismiss()
