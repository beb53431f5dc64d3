"""Map a function over independent items, in processes of this machine or of many.

An executor applies a function to every item and yields the results, in any order. The function is called as
`fn(item, place)` in another process, where `place` is the number of the worker; it must be picklable and *idempotent*:
an item whose worker dies is given to another worker, a bounded number of times. On this machine the calling process is
the worker at place 0.
"""

from vol2vol.machines.executors.dask import dask
from vol2vol.machines.executors.local import local
from vol2vol.machines.executors.slurm import Array, submit

__all__ = ["Array", "dask", "local", "submit"]
