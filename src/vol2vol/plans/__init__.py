"""Describe as values how a volume is cut into tiles and reassembled."""

from vol2vol.plans.plan import WINDOWS, Plan, Window, planar
from vol2vol.plans.strategies import (
    WAYS,
    Overlap,
    Strategy,
    average,
    blend,
    disjoint,
    exact,
    march,
    printed,
    smallest_exact_tile,
)

__all__ = [
    "WAYS",
    "WINDOWS",
    "Overlap",
    "Plan",
    "Strategy",
    "Window",
    "average",
    "blend",
    "disjoint",
    "exact",
    "march",
    "planar",
    "printed",
    "smallest_exact_tile",
]
