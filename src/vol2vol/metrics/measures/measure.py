"""What a measure is: a name, the numbers that it gives with their sense, what it needs, and how it is taken."""

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
"""Needs that hold the answer: a checkpoint that is picked by them is picked by what it is judged by."""


class Bounded(NamedTuple):
    """A number with the ends of its 95 % interval, None where it has none."""

    value: float | None
    low: float | None = None
    high: float | None = None


Number = float | Bounded | Blockwise | None
"""A number as it is, with an interval, or as sums per block, from which the interval is drawn; None: not defined."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a measure found in a volume."""

    values: Mapping[str, Number]
    """Numbers by the `key` of their quantity, parts in braces filled in."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Sentences, by key; that with an empty key is about the whole measure."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number that a measure gives: what it is called, when it is good, and how tables show it."""

    key: str
    """Name below that of the measure, such as `psnr`. Parts in braces stand for any word: `{features}/fid/{plane}`."""
    sense: Sense | None = None
    """When it is better; None where it says nothing of a volume's quality, such as a p or a threshold."""
    about: str = ""
    """One line, with unit and range."""
    title: str = ""
    """Heads its column on the report's page; without one it is not shown there."""
    column: str = ""
    """Heads its column in the CSV table; by default the key. Without title and column it stands in no table."""
    digits: int = 3
    """Significant digits on the page, or, with `places`, digits after the point."""
    places: bool = False
    amount: bool = False
    """Written with k, M, G."""
    divisor: float = 1
    """Tables show the number divided by this, such as 3600 for hours."""
    segmenters: int = 0
    """It takes at least so many of them."""
    interval: bool = True
    """Whether a study's rows keep its interval and its sums per block; not where these take long and show nothing."""
    combine: Combine | None = None
    """What makes the number of sums per block `(..., k)`, where the report compares trials by these."""
    condense: Callable[[np.ndarray], np.ndarray] | None = None
    """Shortens sums per block `(blocks, k)` before they are resampled, where many of them are 0."""

    @property
    def metric(self) -> str:
        """The last word of the key."""
        return self.key.rpartition("/")[2]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("([^/]+)".join(map(re.escape, re.split(r"\{\w+\}", self.key))))

    def goodness(self, value: float) -> float | None:
        """Return a value turned so that higher is better; as it is without a sense; None for no ratio, nearer to 1."""
        if self.sense == "nearer 1":
            return -abs(log(value)) if value > 0 else None
        return -value if self.sense == "lower" else value

    def words(self, key: str) -> tuple[str, ...] | None:
        """Return the words in place of the parts in braces; None where a key is not this quantity's."""
        match = self._pattern.fullmatch(key)
        return None if match is None else match.groups()


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A way to judge a volume. `evaluate`, studies, their picks and reports take what they know of it from here."""

    name: str
    about: str
    """One line."""
    quantities: tuple[Quantity, ...]
    take: Callable[[Subject], Taken]
    """Raises `BadInput` where the measure cannot be taken of a volume; what is provided is all that `needs` names."""
    needs: tuple[Need, ...] = ()
    """What it asks its subject for."""
    family: str = ""
    """First part of the names of its values in a study's rows; by default the measure's name."""
    segmenters: int | None = None
    """With need of segmentations, how many of them it looks at; None: all."""
    ranked: bool = True
    """Whether a report asks how well it ranks volumes; not for overlap itself and costs."""
    cheap: bool = False
    """Whether a study takes it of every checkpoint, if it is not told otherwise."""
    always: bool = False
    """Taken of every volume when it is made, asked for or not, because it cannot be taken later."""
    table: str = "further"
    """Table of the report in which it has its columns."""

    def __post_init__(self) -> None:
        if not self.family:
            object.__setattr__(self, "family", self.name)

    @property
    def sees_answers(self) -> bool:
        """Whether it looks at masks or truths of what is tested."""
        return bool({*ANSWERS} & {*self.needs})

    @property
    def against_first(self) -> bool:
        """Whether it also says how a volume differs from that of the study's first strategy."""
        return any(quantity.metric == "against_first" for quantity in self.quantities)

    def name_of(self, key: str) -> str:
        """Return the name of a value, or note, in a study's rows."""
        return f"{self.family}/{key}" if key else self.family

    def quantity(self, name: str) -> Quantity | None:
        """Return the quantity of a value by its name in a study's rows, None where it is not of this measure."""
        family, _, key = name.partition("/")
        if family != self.family:
            return None
        return next((quantity for quantity in self.quantities if quantity.words(key) is not None), None)
