"""Recognise that the memory ran out, and lay the same blocks out in smaller tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from vol2vol import plans
from vol2vol.geometry import Footprint
from vol2vol.plans.layout import Layout

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
    "could not create a memory object",
)


def ran_out(error: Exception) -> bool:
    """Return whether an exception means that memory could not be allocated, on a GPU or on the host."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


def smaller(layout: Layout, footprint: Footprint) -> Iterator[Layout]:
    """Yield layouts of the same blocks in exact tiles, each at most half as long as the previous one."""
    smallest = tuple(plans.smallest_exact_tile(footprint, axis) for axis in range(footprint.dims))
    size = tuple(max(sides) for sides in zip(*(pass_.seen for pass_ in layout.passes), strict=True))
    while True:
        half = (footprint.admissible(n // 2, axis, at_least=False) for axis, n in enumerate(size))
        size = tuple(map(max, smallest, half))
        plan = plans.exact(footprint, size)
        yield replace(
            layout,
            passes=tuple(
                replace(
                    pass_,
                    plan=plan if pass_.planar is None else plans.planar(plan, pass_.planar),
                    sweep=None,
                    frugal=True,
                )
                for pass_ in layout.passes
            ),
        )
        if size == smallest:
            return
