"""Which checkpoints to look at: the best, the middle and the worst by a value (stitching paper, section 4, Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vol2vol.errors import BadInput
from vol2vol.report.rows.rows import Row

ROLES = ("best", "middle", "worst")


def pick(rows: Sequence[Row], by: str, lowest: bool = True) -> dict[str, Row]:
    """Return the best, the middle and the worst row by a value; `lowest` says that small values are good.

    The middle one is nearest to the median of all values. Rows without the value are left out; of fewer than three,
    one stands for several. Raises `BadInput` where no row has the value.
    """
    return {role: found[0] for role, found in pick_several(rows, by, each=1, lowest=lowest).items()}


def pick_several(rows: Sequence[Row], by: str, *, each: int = 3, lowest: bool = True) -> dict[str, list[Row]]:
    """Return several rows of each kind, the most typical of it first; the paper takes three of each of 20.

    No row is taken twice while there are enough: the middle ones are nearest to the median among those that are
    neither best nor worst. Equal values keep the order of the rows. Raises `BadInput` as `pick` does.
    """
    known = [(value, row) for row in rows if (value := row.number(by)) is not None]
    if not known:
        raise BadInput(f"none of {len(rows)} trials has the value {by}: measure it, or pick by another")
    ranked = sorted(known, key=lambda one: one[0] if lowest else -one[0])
    centre = median(value for value, _ in ranked)
    between = ranked[each : len(ranked) - each] or ranked
    middle = sorted(between, key=lambda one: abs(one[0] - centre))
    found = {"best": ranked[:each], "middle": middle[:each], "worst": ranked[::-1][:each]}
    return {role: [row for _, row in found[role]] for role in ROLES}
