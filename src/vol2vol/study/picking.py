"""Check by which values checkpoints may be picked: first-round values that use no mask or truth of the test part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import product

from vol2vol.errors import BadInput
from vol2vol.metrics.measures import measures, quantity_of
from vol2vol.study.settings import Study


def oracles() -> tuple[str, ...]:
    """Return the first parts of value names that use masks or truths of the test part, which a pick must not use."""
    supervised = [measure for measure in measures() if measure.sees_answers]
    return tuple(dict.fromkeys(name for measure in supervised for name in (measure.name, measure.family)))


def values_of(study: Study) -> dict[str, list[str]]:
    """Return by measure the names of the values that this study measures without masks or truths."""
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
    """Return a key with its parts in braces replaced by each of their words; [] if a part has no words."""
    parts = re.findall(r"\{(\w+)\}", key)
    choices = product(*(words.get(part, ()) for part in parts))
    return [key.format(**dict(zip(parts, choice, strict=True))) for choice in choices]


def check_picks(study: Study) -> None:
    """Raise `BadInput`, naming the key, if a pick uses a value that is not measured, or one that uses the answer."""
    known, first = values_of(study), [*dict.fromkeys(study.first)]
    free = ["checkpoint", *(name for measure in first for name in known.get(measure, ()))]
    every = {name for names in known.values() for name in names}
    for number, pick in enumerate(study.picks):
        where = f"picks.{number}.by: {pick.by}"
        if pick.by.partition("/")[0] in oracles():
            raise BadInput(
                f"{where} uses masks or truths of the test part, so it would pick by the answer: "
                "pick by label_free/..., distance/..., structure/... or checkpoint"
            )
        if pick.by not in free and pick.by in every:
            raise BadInput(
                f"{where} is not measured in the first round, which takes {', '.join(first)}: add it to first"
            )
        if pick.by not in free:
            near = get_close_matches(pick.by, free, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one such as {', '.join(_examples(free))}"
            raise BadInput(f"{where} is not a measured value: {hint}")
        available, need = sum(len(segmenter.seeds) for segmenter in study.segmenters.values()), _segmenters(pick.by)
        if study.translators and available < need:
            raise BadInput(
                f"{where} needs {need} or more segmenters, there are {available}: add one, or pick otherwise"
            )


def _segmenters(name: str) -> int:
    """Return the minimum number of segmenters that a value needs."""
    quantity = quantity_of(name)
    return quantity.segmenters if quantity else 0


def _examples(names: list[str]) -> list[str]:
    """Return the first value name of every measure."""
    return list({name.partition("/")[0]: name for name in reversed(names)}.values())[::-1]
