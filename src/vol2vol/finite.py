"""Refuse NaN and infinite voxels, with one message for all readers of volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vol2vol.errors import BadInput


def need_finite(values: np.ndarray, name: object, start: Sequence[int] | None = None, *, then: str = "") -> np.ndarray:
    """Return voxels `(C, Z, Y, X)` of any dtype unchanged; raise `BadInput` if one of them is NaN or infinite.

    `name` is the path of the volume. With `start`, the position `(Z, Y, X)` of the first voxel in the volume, the
    message names the first such voxel in reading order, and its channel if there are several. `then` is what to do
    after replacing it.
    """
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        if start is None:
            raise nonfinite(name, then=then)
        first = np.argwhere(~finite.all(axis=0))[0]
        channel = int(np.flatnonzero(~finite[(slice(None), *first)])[0]) if len(values) > 1 else None
        raise nonfinite(name, first + np.asarray(start), channel, then=then)
    return values


def nonfinite(
    name: object, position: Sequence[int] | np.ndarray | None = None, channel: int | None = None, *, then: str = ""
) -> BadInput:
    """Return the error about a NaN or infinite voxel of the volume `name`, the first one at `position` (Z, Y, X)."""
    where = "" if position is None else f" at voxel {tuple(int(n) for n in position)}"
    where += "" if channel is None else f" of channel {channel}"
    return BadInput(f"{name} holds NaN or infinity{where}: replace it by a number in the file{then}")
