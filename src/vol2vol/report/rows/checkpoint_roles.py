"""Pick the best, the middle and the worst checkpoint by a value (stitching paper, section 4, Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vol2vol.errors import BadInput
from vol2vol.metrics.measures import quantity_of
from vol2vol.report.rows.rows import Row

ROLES = ("best", "middle", "worst")
WORST = 1e300
"""Badness of a value that is not a ratio, where ratios near 1 are good; finite, so that differences are defined."""


def smallest_best(by: str, lowest: bool | None) -> bool | None:
    """Return whether low values are good: `lowest` if given, else as the measure defines, else True; None: near 1."""
    if lowest is not None:
        return lowest
    quantity = quantity_of(by)
    sense = quantity.sense if quantity else None
    return None if sense == "nearer 1" else sense != "higher"


def pick(rows: Sequence[Row], by: str, lowest: bool | None = None) -> dict[str, Row]:
    """Return the best, the middle and the worst row by a value; `lowest` as `smallest_best` takes it.

    The middle row is nearest to the median of all values. Rows without the value are left out; with fewer than three
    rows, one has several roles. Raises `BadInput` if no row has the value.
    """
    return {role: chosen[0] for role, chosen in pick_several(rows, by, each=1, lowest=lowest).items()}


def pick_several(rows: Sequence[Row], by: str, *, each: int = 3, lowest: bool | None = None) -> dict[str, list[Row]]:
    """Return `each` rows per role, the most typical first; the paper takes three of 20 checkpoints.

    With enough rows, none is taken twice: the middle ones are nearest to the median among those that are neither best
    nor worst. Equal values keep the order of the rows. Raises `BadInput` if no row has the value.
    """
    known = [(_badness(by, value, lowest), row) for row in rows if (value := row.number(by)) is not None]
    if not known:
        raise BadInput(f"none of {len(rows)} trials has the value {by}: measure it, or pick by another")
    ranked = sorted(known, key=lambda pair: pair[0])
    centre = median(badness for badness, _ in ranked)
    between = ranked[each : len(ranked) - each] or ranked
    middle = sorted(between, key=lambda pair: abs(pair[0] - centre))
    chosen = {"best": ranked[:each], "middle": middle[:each], "worst": ranked[::-1][:each]}
    return {role: [row for _, row in chosen[role]] for role in ROLES}


def _badness(by: str, value: float, lowest: bool | None) -> float:
    small = smallest_best(by, lowest)
    quantity = quantity_of(by)
    if small is None and quantity is not None:
        good = quantity.goodness(value)
        return WORST if good is None else -good
    return value if small else -value
