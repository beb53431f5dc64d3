"""By which values checkpoints may be picked: those of a first look that need no mask or truth of what is tested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import product

from vol2vol.errors import BadInput
from vol2vol.metrics.measures import measures, quantity_of
from vol2vol.study.settings import Study


def oracles() -> tuple[str, ...]:
    """Return the beginnings of names that rest on masks or truths of the test part, which no pick may look at."""
    seeing = [measure for measure in measures() if measure.sees_answers]
    return tuple(dict.fromkeys(name for measure in seeing for name in (measure.name, measure.family)))


def values_of(study: Study) -> dict[str, list[str]]:
    """Return by measure the names of the values that need neither mask nor truth, as this study would take them."""
    words = {"features": study.distance.features, "plane": study.distance.planes, "axis": "zyx"}
    return {
        measure.name: [
            measure.name_of(key)
            for quantity in measure.quantities
            if quantity.metric != "against_first"
            for key in _filled(quantity.key, words)
        ]
        for measure in measures()
        if not measure.sees_answers
    }


def _filled(key: str, words: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a key with its parts in braces replaced by every word they stand for; none where these are not known."""
    parts = re.findall(r"\{(\w+)\}", key)
    choices = product(*(words.get(part, ()) for part in parts))
    return [key.format(**dict(zip(parts, choice, strict=True))) for choice in choices]


def check_picks(study: Study) -> None:
    """Raise `BadInput`, naming the key, where a pick is by what is not measured, or by the answer."""
    known, first = values_of(study), [*dict.fromkeys(study.first)]
    free = ["checkpoint", *(name for measure in first for name in known.get(measure, ()))]
    every = {name for names in known.values() for name in names}
    for number, pick in enumerate(study.picks):
        where = f"picks.{number}.by: {pick.by}"
        if pick.by.partition("/")[0] in oracles():
            raise BadInput(
                f"{where} looks at masks or truths of the test part, so it picks by the answer: "
                "pick by label_free/..., distance/..., structure/... or checkpoint"
            )
        if pick.by not in free and pick.by in every:
            raise BadInput(f"{where} is not measured at a first look, which takes {', '.join(first)}: add it to first")
        if pick.by not in free:
            near = get_close_matches(pick.by, free, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_examples(free))}, ..."
            raise BadInput(f"{where} is not a value that is measured: {hint}")
        judges, need = sum(len(one.seeds) for one in study.segmenters.values()), _segmenters(pick.by)
        if study.translators and judges < need:
            raise BadInput(f"{where} needs {need} or more segmenters, there are {judges}: add one, or pick by another")


def _segmenters(name: str) -> int:
    """Return how many segmenters a value needs at least."""
    quantity = quantity_of(name)
    return quantity.segmenters if quantity else 0


def _examples(names: list[str]) -> list[str]:
    """Return the first name of every measure."""
    return list({name.partition("/")[0]: name for name in reversed(names)}.values())[::-1]
