"""Plain words for what the report shows: strategies, assemblies, and numbers."""

from __future__ import annotations

from math import isfinite

MEANINGS = {
    "exact": "tiles overlap so far that every voxel kept has all its surroundings, and start on the network's own "
    "grid; the same picture as one pass over the whole volume, so there are no seams",
    "printed": "as exact, with the margins printed in the paper (the same on both sides): no seams either, but shifted "
    "against a single pass, so it differs from exact everywhere a little",
    "average": "tiles overlap a little and are averaged there: seams are faint",
    "blend": "tiles overlap a little and fade into each other: seams are fainter",
    "disjoint": "tiles lie side by side and nothing is thrown away: voxels at the border of a tile lack "
    "their surroundings, and it shows",
    "slices": "a 2D network translates plane by plane along z",
    "ortho": "a 2D network translates planes in all three directions, and the three volumes are averaged",
    "volume": "a 3D network translates three-dimensional tiles",
}
"""What strategies and assemblies do, by their names."""
MISSING = "–"  # noqa: RUF001  a dash in a table


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits and without exponents; a dash for None."""
    if value is None or not isfinite(value):
        return MISSING
    if abs(value) >= 10 ** (digits - 1) or value == 0:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"


def amount(value: float | None) -> str:
    """Write a count with k, M, G or T: `1.25 M`; the unit follows."""
    if value is None or not isfinite(value):
        return MISSING
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {letter}"
    return f"{value:.3g} "
