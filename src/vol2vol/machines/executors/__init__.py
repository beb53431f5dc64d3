"""Maps over independent items, in processes of this machine or of many.

An executor applies a function to every item and yields what the calls yield, in any order. It does not know what is
mapped. The function is called as `fn(item, place)` in another process, `place` being the number of the worker; it must
be picklable and *idempotent*: an item whose worker dies is given to another worker, a bounded number of times. Of the
processes of this machine the one that maps is the first, at place 0.
"""

from vol2vol.machines.executors.dask import dask
from vol2vol.machines.executors.local import local
from vol2vol.machines.executors.slurm import Array, submit

__all__ = ["Array", "dask", "local", "submit"]
