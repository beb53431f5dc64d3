"""Describe as values how a volume is cut into tiles and reassembled."""

from vol2vol.plans.strategies import (
    WAYS,
    WINDOWS,
    Overlap,
    Plan,
    Strategy,
    Window,
    average,
    blend,
    disjoint,
    exact,
    planar,
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
    "planar",
    "printed",
    "smallest_exact_tile",
]
