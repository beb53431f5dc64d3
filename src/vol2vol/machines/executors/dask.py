"""Map over items on Dask workers: a cluster on this machine, a running scheduler, or a cluster on SLURM."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from vol2vol import plainyaml
from vol2vol.errors import BadInput, NotFound, UserError, WorkerLost, one_line
from vol2vol.files import read_text
from vol2vol.machines.executors.crew import FATAL, always, given_up

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
CURE = "install vol2vol[dask]"


def dask(
    fn: Callable[[Item, int], Iterable[Result]],
    items: Iterable[Item],
    *,
    workers: int,
    scheduler: str | None = None,
    retries: int = 2,
    name: Callable[[Item], str] = str,
    ready: Callable[[Item], bool] = always,
    lost: Callable[[Item, WorkerLost], Result] = given_up,
) -> Iterator[Result]:
    """Apply `fn` to every item on Dask workers and yield the results, with at most two items per worker in progress.

    An item is started only when it is `ready`, which is evaluated again after every result. `scheduler` is
    the address of a running scheduler (`tcp://host:8786`), a YAML file with the arguments of
    `dask_jobqueue.SLURMCluster`, or None for `workers` processes here. For an item that failed, or whose worker
    died, more than `retries` times, the result of `lost` is yielded; by default `WorkerLost` is raised, naming it.
    """
    with ExitStack() as stack:
        client = _client(stack, workers, scheduler)
        from distributed import as_completed

        waiting = list(items)
        items_of: dict[str, Item] = {}
        completed = as_completed()

        def feed() -> None:
            places = max(workers, len(client.nthreads()))
            free = max(0, 2 * places - len(items_of))
            for item in list(islice(filter(ready, waiting), free)):
                waiting.remove(item)
                future = client.submit(_run, fn, item, retries=retries, pure=False)
                items_of[future.key] = item
                completed.add(future)

        feed()
        for future in completed:
            item = items_of.pop(future.key)
            yield from _result(future, name(item), retries, partial(lost, item))
            feed()


def _run(fn: Callable[[Any, int], Iterable[Any]], item: Any) -> list[Any] | UserError:
    """Apply `fn` to an item on a worker; errors that a retry cannot fix are returned, so that Dask does not retry."""
    from distributed import get_worker

    place = get_worker().name
    try:
        return list(fn(item, place if isinstance(place, int) else 0))
    except FATAL as error:
        return error


def _result(future: Any, name: str, retries: int, lost: Callable[[WorkerLost], Any]) -> list[Any]:
    """Return the results of an item, or the result of `lost`; raise a `UserError`."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        killed = f"{name} killed its worker {retries + 1} times: give workers more memory, or less `memory`"
        return [lost(WorkerLost(killed))]
    if error is not None and not isinstance(error, UserError):
        failed = f"{name} failed {retries + 1} times ({type(error).__name__}: {one_line(error, 300)})"
        return [lost(WorkerLost(failed))]
    results: list[Any] | UserError = future.result()
    if isinstance(results, UserError):
        raise results
    return results


def _client(stack: ExitStack, workers: int, scheduler: str | None) -> Any:
    """Return a client; a cluster started here is closed with the stack."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise NotFound(f"`executor` dask needs the package distributed: {CURE}") from None
    if scheduler is not None and scheduler.endswith((".yaml", ".yml")):
        cluster = stack.enter_context(_slurm_cluster(Path(scheduler)))
        cluster.scale(jobs=workers)
    elif scheduler is not None:
        try:
            return stack.enter_context(Client(scheduler, timeout="20s"))
        except (OSError, ValueError) as error:
            raise NotFound(
                f"no Dask scheduler answers at {scheduler} ({one_line(error, 300)}): check the address"
            ) from None
    else:
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
        cluster = stack.enter_context(LocalCluster(processes=True, **options))
    return stack.enter_context(Client(cluster))


def _slurm_cluster(path: Path) -> Any:
    """Return the cluster a YAML file describes; each of its jobs is one worker unless the file says otherwise."""
    import yaml

    interrupted = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise NotFound(f"a SLURM cluster for Dask needs the package dask-jobqueue: {CURE}") from None
    finally:
        signal.signal(signal.SIGINT, interrupted)  # as it is imported, the package makes Ctrl-C end with exit code 0
    try:
        arguments = plainyaml.load(read_text(path))
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(
            f"{path} cannot be read ({one_line(error, 300)}): give a YAML file of SLURMCluster arguments"
        ) from None
    if not isinstance(arguments, dict):
        raise BadInput(f"{path} holds no arguments: write for example cores: 8, memory: 32GB, queue: gpu")
    try:
        return SLURMCluster(**{"processes": 1, **arguments})
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path}: dask_jobqueue.SLURMCluster refuses its arguments ({one_line(error, 300)})") from None
