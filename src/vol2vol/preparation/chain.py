"""A volume and the steps to take: looks like a volume itself, and computes any box of the result when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, round_up
from vol2vol.intensity.streaming import percentile_values, tally
from vol2vol.preparation.content import find_content
from vol2vol.preparation.steps import Binarise, Channels, Convert, Crop, Look, Resample, Step
from vol2vol.volumes import Volume
from vol2vol.volumes.axes import tidy
from vol2vol.volumes.space import need_voxel_size

PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True)
class Chain:
    """What steps make of a volume, box by box; equal, byte by byte, to writing every step's result and reading it."""

    volume: Volume
    steps: tuple[Step, ...]
    looks: tuple[Look, ...]
    """Of the volume, and after each step."""

    @classmethod
    def of(cls, volume: Volume, steps: Sequence[Step], *, labels: bool) -> Chain:
        """Return the chain; raise `BadInput`, naming the step, where one cannot be done."""
        looks = [Look(shape=volume.shape, voxel_size=volume.voxel_size, dtype=volume.dtype, labels=labels)]
        for step in steps:
            if isinstance(step, Resample):
                need_voxel_size(volume, "resampling needs")
            looks.append(step.look(looks[-1]))
        return cls(volume, tuple(steps), tuple(looks))

    def then(self, *steps: Step) -> Chain:
        """Return the chain with more steps."""
        return Chain.of(self.volume, (*self.steps, *steps), labels=self.looks[0].labels)

    def until(self, count: int) -> Chain:
        """Return the chain's first steps."""
        return Chain(self.volume, self.steps[:count], self.looks[: count + 1])

    @property
    def look(self) -> Look:
        """What comes out."""
        return self.looks[-1]

    @property
    def path(self) -> str:
        """The volume's path, for messages."""
        return self.volume.path

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the result's channels; none where they are unknown or the result is a mask."""
        names = self.volume.channel_names
        for step in self.steps:
            if isinstance(step, Binarise):
                return ()
            if isinstance(step, Channels) and names:
                names = tuple(names[i] for i in step.keep)
        return names

    @property
    def shape(self) -> Shape:
        """C, Z, Y, X of the result."""
        return self.look.shape

    @property
    def spatial(self) -> Shape:
        """Z, Y, X of the result."""
        return self.look.spatial

    @property
    def dtype(self) -> np.dtype:
        """Type of the result."""
        return self.look.dtype

    @property
    def place(self) -> tuple[float, ...] | None:
        """Z, Y, X of the centre of the first voxel, in the volume's unit; None where nothing says where that lies."""
        volume, look = self.volume, self.look
        if not volume.placed and not any(look.origin):
            return None
        corners = (o - v / 2 + a for o, v, a in zip(volume.offset, volume.voxel_size, look.origin, strict=True))
        return tuple(tidy(corner + v / 2) for corner, v in zip(corners, look.voxel_size, strict=True))

    @property
    def chunks(self) -> Shape:
        """All channels of a box of the result that is made of about one stored chunk."""
        scale = (b / a for a, b in zip(self.looks[0].voxel_size, self.look.voxel_size, strict=True))
        stored = zip(self.volume.chunks[1:], scale, self.spatial, strict=True)
        return (self.shape[0], *(max(1, min(n, round(c / s))) for c, s, n in stored))

    def boxes(self, box: Box) -> list[Box]:
        """Return the boxes of the volume, and after each step, that a box of the result is made of."""
        found = [box]
        for step, look in zip(reversed(self.steps), reversed(self.looks[:-1]), strict=True):
            found.append(step.needs(look, found[-1]))
        return found[::-1]

    def read(self, box: Box) -> np.ndarray:
        """Return the voxels of a box of the result, `(C, *box.shape)`; raise `BadInput` where a step refuses them."""
        first, *rest = self.boxes(box)
        stored = values = self.volume.read(first)
        for step, look, part in zip(self.steps, self.looks[:-1], rest, strict=True):
            try:
                values = step.apply(look, part, values)
            except BadInput as error:
                where = f"{self.path}{_first_odd(stored, first)}"
                raise BadInput(f"{where}: {error} and start again with --overwrite") from None
        return values

    def memory(self, box: Box) -> int:
        """Return the bytes that `read` takes for a box, its result included."""
        boxes = self.boxes(box)
        held = [look.nbytes(part) for look, part in zip(self.looks, boxes, strict=True)]
        working = [s.working(look, part) for s, look, part in zip(self.steps, self.looks[:-1], boxes[1:], strict=True)]
        return max([2 * held[0], *(a + b + w for a, b, w in zip(held[:-1], held[1:], working, strict=True))])

    def read_in_all(self, blocks: Sequence[Shape]) -> int:
        """Return how many voxels of the volume are decoded, whole chunks, when the result is made in these blocks.

        `blocks` are per axis the sizes of the parts, one after another; steps treat the axes apart from each other.
        """
        return prod(self._read_along(axis, sizes) for axis, sizes in enumerate(blocks))

    def _read_along(self, axis: int, sizes: Shape) -> int:
        total, at, chunk, end = 0, 0, self.volume.chunks[axis + 1], self.volume.spatial[axis]
        for size in sizes:
            start, stop = [0, 0, 0], [1, 1, 1]
            start[axis], stop[axis] = at, at + size
            box = self.boxes(Box(tuple(start), tuple(stop)))[0]
            total += min(round_up(box.stop[axis], chunk), end) - box.start[axis] // chunk * chunk
            at += size
        return total


def answered(chain: Chain) -> Chain:
    """Return the chain with its open questions answered, reading the volume as far as that needs: a box, a range."""
    for place, step in enumerate(chain.steps):
        if step.open_question:
            known = chain.until(place)
            known = known.then(_answer(known, step))
            return answered(known.then(*chain.steps[place + 1 :]))
    return chain


def _answer(before: Chain, step: Step) -> Step:
    if isinstance(step, Crop):
        block = tuple(min(n, max(64, c)) for n, c in zip(before.spatial, before.chunks[1:], strict=True))
        return Crop.of(find_content(before.read, before.spatial, block, step.background, step.margin))
    assert isinstance(step, Convert), step
    tallies = tally([before])
    lows, highs = [t.minimum for t in tallies], [t.maximum for t in tallies]
    if step.range == "percentile":
        lows, highs = percentile_values([before], tallies, PERCENTILES)
    if not min(lows) < max(highs):
        raise BadInput(f"convert range {step.range}: {before.path} is {lows[0]:g} throughout: give two numbers")
    return step.model_copy(update={"range": (min(lows), max(highs))})


def _first_odd(stored: np.ndarray, box: Box) -> str:
    """Say which voxel is the first in a box that is not finite, where there is one."""
    if stored.dtype.kind != "f" or np.isfinite(stored).all():
        return ""
    at = np.argwhere(~np.isfinite(stored).all(axis=0))[0]
    return f", voxel {tuple(int(a + b) for a, b in zip(at, box.start, strict=True))}"
