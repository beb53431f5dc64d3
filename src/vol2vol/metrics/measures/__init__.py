"""Measures of translated volumes, each in a file of its own; `catalogue` lists them."""

from vol2vol.metrics.measures.catalogue import MEASURES, measures, quantity_of
from vol2vol.metrics.measures.measure import Bounded, Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.subject import Network, Segmentation, Subject

__all__ = [
    "MEASURES",
    "Bounded",
    "Measure",
    "Network",
    "Number",
    "Quantity",
    "Segmentation",
    "Subject",
    "Taken",
    "measures",
    "quantity_of",
]
