"""The list of measures by name, which `evaluate`, studies, picks and reports read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.metrics.measures.circles import CIRCLES
from vol2vol.metrics.measures.cost import COST
from vol2vol.metrics.measures.cycle import CYCLE
from vol2vol.metrics.measures.distance import DISTANCE
from vol2vol.metrics.measures.fidelity import FIDELITY
from vol2vol.metrics.measures.label_free import LABEL_FREE
from vol2vol.metrics.measures.measure import Measure, Quantity
from vol2vol.metrics.measures.mismatch import MISMATCH
from vol2vol.metrics.measures.near_seam import NEAR_SEAM
from vol2vol.metrics.measures.objects import OBJECTS
from vol2vol.metrics.measures.seams import SEAMS
from vol2vol.metrics.measures.segmentation import SEGMENTATION
from vol2vol.metrics.measures.shortcut import SHORTCUT
from vol2vol.metrics.measures.structure import STRUCTURE
from vol2vol.plugins import Catalogue

log = logging.getLogger(__name__)
OWN = (
    *(SEAMS, MISMATCH, DISTANCE, FIDELITY, STRUCTURE, CYCLE),
    *(SEGMENTATION, NEAR_SEAM, OBJECTS, CIRCLES, SHORTCUT, LABEL_FREE, COST),
)
"""The measures of vol2vol, in the order in which they are taken."""


def _check(name: str, measure: Any) -> str:
    """Return why an object of another package cannot be a measure; empty if it can."""
    if not isinstance(measure, Measure):
        return "it is not a Measure"
    if measure.name != name:
        return f"its name is {measure.name!r}"
    families = {own.family for own in OWN}
    return f"its family {measure.family!r} belongs to vol2vol" if measure.family in families else ""


MEASURES: Catalogue[Measure] = Catalogue("measure", "vol2vol.measures", {own.name: own for own in OWN}, _check)
"""All measures by name; other packages add theirs by the entry points `vol2vol.measures`."""
_unusable: set[str] = set()
"""Names of measures for which a warning was logged."""


def measures() -> Iterator[Measure]:
    """Yield all usable measures, vol2vol's own first; a broken package is logged as a warning, once."""
    for name in MEASURES:
        try:
            yield MEASURES[name]
        except BadInput as error:
            if name not in _unusable:
                log.warning("%s", error)
            _unusable.add(name)


def quantity_of(name: str) -> Quantity | None:
    """Return the quantity of a value by its name in a study's rows; None if no measure has it."""
    return next((quantity for measure in measures() if (quantity := measure.quantity(name))), None)
