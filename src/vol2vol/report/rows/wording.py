"""Plain words for what the report shows: strategies, assemblies, numbers with their units."""

from __future__ import annotations

from math import isfinite

STRATEGIES = {
    "exact": "tiles overlap so far that every voxel kept has all its surroundings, and start on the network's own "
    "grid; the same picture as one pass over the whole volume, so there are no seams",
    "printed": "as exact, with the margins printed in the paper (the same on both sides): no seams either, but shifted "
    "against a single pass, so it differs from exact everywhere a little",
    "average": "tiles overlap a little and are averaged there: seams are faint",
    "blend": "tiles overlap a little and fade into each other: seams are fainter",
    "disjoint": "tiles lie side by side and nothing is thrown away: voxels at the border of a tile lack "
    "their surroundings, and it shows",
}
ASSEMBLIES = {
    "slices": "plane by plane",
    "ortho": "plane by plane in all three directions, then averaged",
    "volume": "in three-dimensional blocks",
}
MISSING = "–"  # noqa: RUF001  a dash in a table


def strategy(name: str) -> str:
    """Say what a strategy does; nothing for one this version does not know."""
    return STRATEGIES.get(name, "")


def assembly(name: str) -> str:
    """Say what an assembly does."""
    return ASSEMBLIES.get(name, name)


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


def sizes(shape: tuple[float, ...]) -> str:
    """Write lengths along z, y, x as `96 × 192 × 192`."""
    return " \N{MULTIPLICATION SIGN} ".join(f"{n:g}" for n in shape)
