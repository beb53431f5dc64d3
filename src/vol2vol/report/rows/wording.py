"""Explain strategies and assemblies in words, and format numbers."""

from __future__ import annotations

from math import isfinite

MEANINGS = {
    "exact": "tiles overlap so far that every voxel that is kept has its full context, and they start on the "
    "network's period grid; the result equals a single pass over the whole volume, without seams",
    "printed": "as exact, but with the margins printed in the paper (the same on both sides); it has no seams either, "
    "but is shifted against a single pass and therefore differs slightly from exact everywhere",
    "average": "tiles overlap slightly and are averaged in the overlap; seams are faint",
    "blend": "tiles overlap slightly and are blended with linear weights; seams are fainter",
    "disjoint": "tiles lie side by side and are kept whole; voxels at the border of a tile lack "
    "context, which leaves visible seams",
    "march": "tiles are translated one after another, and each is shown what earlier ones made where they overlap, for "
    "networks that learnt to continue it",
    "slices": "a 2D network translates plane by plane along z",
    "ortho": "a 2D network translates planes in all three directions, and the three volumes are averaged",
    "volume": "a 3D network translates three-dimensional tiles",
}
"""What strategies and assemblies do, by name."""
MISSING = "–"  # noqa: RUF001  a dash in a table


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with `digits` significant digits and without exponent; a dash for None."""
    if value is None or not isfinite(value):
        return MISSING
    if abs(value) >= 10 ** (digits - 1) or value == 0:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"


def amount(value: float | None) -> str:
    """Format a count with a prefix k, M, G or T, to be followed by its unit: `1.25 M`."""
    if value is None or not isfinite(value):
        return MISSING
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {letter}"
    return f"{value:.3g} "
