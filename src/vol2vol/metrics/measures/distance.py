"""Frechet and kernel distance to the target domain in the eyes of feature networks, between floor and ceiling."""

from __future__ import annotations

from vol2vol.errors import BadInput
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.resampling import Distance
from vol2vol.metrics.distances.scale import DISTANCES, interval_over_cubes, scale
from vol2vol.metrics.measures.measure import Bounded, Measure, Number, Quantity, Sense, Taken
from vol2vol.metrics.measures.subject import Subject


def take(subject: Subject) -> Taken:
    """Measure how far the volume is from the target's training part, for every network, plane and distance."""
    sets = subject.features
    values: dict[str, Number] = {}
    for network in sets.networks:
        for plane in sets.planes:
            before, real, after = (sets(which, network, plane) for which in ("source", "target", "volume"))
            first = sets("first", network, plane) if sets.has_first else None
            for name, distance in DISTANCES.items():
                key = f"{network}/{name}/{plane}"
                between = scale(before, after, real, distance)
                values[key] = _around(between.value, after, real, distance, resamples=sets.resamples)
                values[f"{key}/floor"], values[f"{key}/ceiling"] = between.floor, between.ceiling
                values[f"{key}/gap_closed"] = between.gap_closed
                if first is not None:
                    values[f"{key}/against_first"] = _beyond(first, after, real, distance, resamples=sets.resamples)
    return Taken(values=values)


def _around(value: float, after: Features, real: Features, distance: Distance, *, resamples: int) -> Bounded:
    """Return a distance with its interval, which a volume may be too small for."""
    try:
        drawn = interval_over_cubes(after, real, distance, resamples, around=value) if resamples else None
    except BadInput:
        drawn = None
    return Bounded(value) if drawn is None else Bounded(value, drawn.low, drawn.high)


def _beyond(first: Features, after: Features, real: Features, distance: Distance, *, resamples: int) -> Number:
    """Return by how much the distance exceeds that of the first strategy's volume; None without an interval."""
    try:
        drawn = interval_over_cubes(after, real, distance, resamples, minus=first) if resamples else None
    except BadInput:
        drawn = None
    return None if drawn is None else Bounded(drawn.value, drawn.low, drawn.high)


_ABOUT = {"fid": "Frechet distance of features", "kid": "kernel distance (MMD) of features"}
_ENDS: dict[str, tuple[Sense | None, str]] = {
    "/floor": (None, "the same between two halves of the target"),
    "/ceiling": (None, "the same between source and target"),
    "/gap_closed": ("higher", "share of the way from ceiling to floor: 0 untranslated, 1 as near as the target itself"),
    "/against_first": (None, "minus that of the first strategy's volume, at the same places"),
}


def _quantities(name: str) -> list[Quantity]:
    """Return a distance and what goes with it."""
    key = f"{{features}}/{name}/{{plane}}"
    more = [Quantity(key=key + end, sense=sense, about=about) for end, (sense, about) in _ENDS.items()]
    return [Quantity(key=key, sense="lower", about=f"{_ABOUT[name]}, 0 for the target itself"), *more]


DISTANCE = Measure(
    name="distance",
    about="distance to the target domain in the eyes of feature networks",
    needs=("source", "target", "features"),
    quantities=tuple(quantity for name in DISTANCES for quantity in _quantities(name)),
    cheap=True,
    table="",
    take=take,
)
