"""Define measures: their names, their quantities and senses, their needs, and how they are taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import log
from typing import Literal, NamedTuple

import numpy as np

from vol2vol.metrics.bootstrap import Blockwise, Combine
from vol2vol.metrics.measures.subject import Need, Subject

Sense = Literal["higher", "lower", "nearer 1"]
ANSWERS: tuple[Need, ...] = ("mask", "truth")
"""Needs that contain the answer; checkpoints must not be picked by measures that use them."""


class Bounded(NamedTuple):
    """A number with the ends of its 95 % interval; None if it has no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


Number = float | Bounded | Blockwise | None
"""A plain number, a number with its interval, or sums per block from which the interval follows; None if undefined."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The result of a measure on a volume."""

    values: Mapping[str, Number]
    """Numbers by the `key` of their quantity, with the parts in braces filled in."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Sentences by key; the one with an empty key refers to the whole measure."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number of a measure: its name, the sense in which it is good, and how tables show it."""

    key: str
    """Name within the measure, such as `psnr`. Parts in braces stand for any word: `{features}/fid/{plane}`."""
    sense: Sense | None = None
    """Which values are better; None if it does not describe quality, such as a p or a threshold."""
    about: str = ""
    """Description in one line, with unit and range."""
    title: str = ""
    """Heading of its column on the report's page; without a title it is not shown there."""
    column: str = ""
    """Heading of its column in the CSV table, by default the key; without title and column it is in no table."""
    digits: int = 3
    """Significant digits on the page or, with `places`, decimal places."""
    places: bool = False
    amount: bool = False
    """Whether it is written with a prefix k, M or G."""
    divisor: float = 1
    """Tables show the number divided by this, such as 3600 for hours."""
    segmenters: int = 0
    """Minimum number of segmenters that it needs."""
    interval: bool = True
    """Whether a study's rows keep its interval and sums per block; not if these take long and serve no purpose."""
    combine: Combine | None = None
    """Computes the number from sums `(..., k)`, if the report compares trials by their sums per block."""
    condense: Callable[[np.ndarray], np.ndarray] | None = None
    """Shortens sums per block `(blocks, k)`, many of which are 0, before they are resampled."""

    @property
    def metric(self) -> str:
        """The last word of the key."""
        return self.key.rpartition("/")[2]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("([^/]+)".join(map(re.escape, re.split(r"\{\w+\}", self.key))))

    def goodness(self, value: float) -> float | None:
        """Return a value with its sign such that higher is better; None if it should be near 1 and is not positive."""
        if self.sense == "nearer 1":
            return -abs(log(value)) if value > 0 else None
        return -value if self.sense == "lower" else value

    def words(self, key: str) -> tuple[str, ...] | None:
        """Return the words in place of the parts in braces; None if the key does not belong to this quantity."""
        match = self._pattern.fullmatch(key)
        return None if match is None else match.groups()


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A way to judge a volume, as `evaluate`, studies, picks and reports use it."""

    name: str
    about: str
    """Description in one line."""
    quantities: tuple[Quantity, ...]
    take: Callable[[Subject], Taken]
    """Takes the measure of a subject, which provides what `needs` names. Raises `BadInput` if that is impossible."""
    needs: tuple[Need, ...] = ()
    """What the subject has to provide."""
    family: str = ""
    """First part of the names of its values in a study's rows, by default the name of the measure."""
    segmenters: int | None = None
    """Number of segmentations that it uses, if it needs them; None for all."""
    ranked: bool = True
    """Whether a report shows how well it ranks volumes; not for overlap and cost."""
    cheap: bool = False
    """Whether a study takes it of every checkpoint by default."""
    usual: bool = True
    """Whether a study takes it by default."""
    always: bool = False
    """Whether it is always taken when a volume is written, because it cannot be taken later."""
    table: str = "further"
    """Table of the report with its columns."""

    def __post_init__(self) -> None:
        if not self.family:
            object.__setattr__(self, "family", self.name)

    @property
    def sees_answers(self) -> bool:
        """Whether it uses the mask or truth of the tested volume."""
        return bool({*ANSWERS} & {*self.needs})

    @property
    def against_first(self) -> bool:
        """Whether it also compares a volume with that of the study's first strategy."""
        return any(quantity.metric == "against_first" for quantity in self.quantities)

    def name_of(self, key: str) -> str:
        """Return the name of a value or note in a study's rows."""
        return f"{self.family}/{key}" if key else self.family

    def quantity(self, name: str) -> Quantity | None:
        """Return the quantity of a value by its name in a study's rows, None if it does not belong to this measure."""
        family, _, key = name.partition("/")
        if family != self.family:
            return None
        return next((quantity for quantity in self.quantities if quantity.words(key) is not None), None)
