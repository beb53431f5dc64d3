"""Frechet and kernel distances of features to the target domain, between floor and ceiling."""

from __future__ import annotations

from vol2vol.errors import BadInput
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.resampling import Distance
from vol2vol.metrics.distances.scale import DISTANCES, interval_over_cubes, scale
from vol2vol.metrics.measures.measure import Bounded, Measure, Number, Quantity, Sense, Taken
from vol2vol.metrics.measures.subject import Subject


def take(subject: Subject) -> Taken:
    """Measure the distances of the volume to the target's training part, for all networks and planes."""
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
    """Return a distance with its interval, or without one if the volume is too small."""
    try:
        drawn = interval_over_cubes(after, real, distance, resamples, around=value) if resamples else None
    except BadInput:
        drawn = None
    return Bounded(value) if drawn is None else Bounded(value, drawn.low, drawn.high)


def _beyond(first: Features, after: Features, real: Features, distance: Distance, *, resamples: int) -> Number:
    """Return the distance minus that of the first strategy's volume, with its interval; None without an interval."""
    try:
        drawn = interval_over_cubes(after, real, distance, resamples, minus=first) if resamples else None
    except BadInput:
        drawn = None
    return None if drawn is None else Bounded(drawn.value, drawn.low, drawn.high)


_ABOUT = {"fid": "Frechet distance of features", "kid": "kernel distance (MMD) of features"}
_ENDS: dict[str, tuple[Sense | None, str]] = {
    "/floor": (None, "distance between two halves of the target"),
    "/ceiling": (None, "distance between source and target"),
    "/gap_closed": (
        "higher",
        "fraction of the way from ceiling to floor: 0 for the untranslated source, 1 for the target itself",
    ),
    "/against_first": (None, "distance minus that of the first strategy's volume, at the same places"),
}


def _quantities(name: str) -> list[Quantity]:
    """Return the quantities of a distance."""
    key = f"{{features}}/{name}/{{plane}}"
    more = [Quantity(key=key + end, sense=sense, about=about) for end, (sense, about) in _ENDS.items()]
    return [Quantity(key=key, sense="lower", about=f"{_ABOUT[name]}, 0 for the target itself"), *more]


DISTANCE = Measure(
    name="distance",
    about="distance to the target domain in the features of networks",
    needs=("source", "target", "features"),
    quantities=tuple(quantity for name in DISTANCES for quantity in _quantities(name)),
    cheap=True,
    table="",
    take=take,
)
