"""Which part of a tile shows the output of earlier tiles, where each tile continues what its neighbours began.

Training pastes by this function and compares by it, and a prediction that marches from tile to tile shows by it, so
that all three mean the same voxels (Boehland et al. 2023, figure 5, for any number of axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated

import numpy as np

from vol2vol.shapes import shaped

Case = tuple[bool, ...]
"""Per axis, whether there is an earlier tile before this one."""


def cases(dims: int) -> tuple[Case, ...]:
    """Return the ways in which a tile of `dims` axes can have earlier neighbours, at least one: 2^dims - 1 of them.

    Those with fewer neighbours come first: in 2D above, to the left, and both.
    """
    every = [case[::-1] for case in product((False, True), repeat=dims) if any(case)]
    return tuple(sorted(every, key=lambda case: (sum(case), [not side for side in case])))


@shaped
def shown(shape: Sequence[int], overlap: Sequence[int], before: Sequence[bool]) -> Annotated[np.ndarray, "*space"]:
    """Return where a tile ([Z,] Y, X) shows the output of earlier tiles: bool, True there.

    These are the first `overlap` voxels along every axis on which there is a tile `before` this one. An overlap that is
    not smaller than the tile leaves no input to see.
    """
    mask = np.zeros(tuple(shape), bool)
    for axis, (width, neighbour) in enumerate(zip(overlap, before, strict=True)):
        if neighbour:
            mask[(slice(None),) * axis + (slice(max(width, 0)),)] = True
    return mask
