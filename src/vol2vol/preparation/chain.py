"""Apply steps to a volume lazily: a chain can be read like a volume and computes any box of the result on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape, round_up
from vol2vol.intensity.streaming import percentile_values, tally
from vol2vol.preparation.content import find_content
from vol2vol.preparation.steps import Binarise, Channels, Convert, Crop, Header, Resample, Step
from vol2vol.volumes import Volume
from vol2vol.volumes.axes import tidy
from vol2vol.volumes.space import need_voxel_size

PERCENTILES = (0.1, 99.9)

AGAIN = " and start again with `overwrite`"
"""What to do after mending the input or the steps."""


@dataclass(frozen=True)
class Chain:
    """The result of some steps on a volume; its bytes equal those of writing and reading back every step's result."""

    volume: Volume
    steps: tuple[Step, ...]
    headers: tuple[Header, ...]
    """The header of the volume, then the header after each step."""

    @classmethod
    def of(cls, volume: Volume, steps: Sequence[Step], *, labels: bool) -> Chain:
        """Return the chain of these steps; `labels` says whether the volume holds labels rather than intensities.

        Raises `BadInput`, naming the step, where a step does not fit its input.
        """
        headers = [Header(shape=volume.shape, voxel_size=volume.voxel_size, dtype=volume.dtype, labels=labels)]
        for step in steps:
            if isinstance(step, Resample):
                need_voxel_size(volume, "resampling needs")
            headers.append(step.header(headers[-1]))
        return cls(volume, tuple(steps), tuple(headers))

    def then(self, *steps: Step) -> Chain:
        """Return the chain with further steps at its end."""
        return Chain.of(self.volume, (*self.steps, *steps), labels=self.headers[0].labels)

    def until(self, count: int) -> Chain:
        """Return the chain of the first `count` steps."""
        return Chain(self.volume, self.steps[:count], self.headers[: count + 1])

    @property
    def header(self) -> Header:
        """The header of the result."""
        return self.headers[-1]

    @property
    def path(self) -> str:
        """The volume's path, for messages."""
        return self.volume.path

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the result's channels; empty where they are unknown or the result is a mask."""
        names = self.volume.channel_names
        for step in self.steps:
            if isinstance(step, Binarise):
                return ()
            if isinstance(step, Channels) and names:
                names = tuple(names[i] for i in step.keep)
        return names

    @property
    def shape(self) -> Shape:
        """Shape of the result, C, Z, Y, X."""
        return self.header.shape

    @property
    def spatial(self) -> Shape:
        """Spatial shape of the result, Z, Y, X."""
        return self.header.spatial

    @property
    def dtype(self) -> np.dtype:
        """Data type of the result."""
        return self.header.dtype

    @property
    def place(self) -> tuple[float, ...] | None:
        """Position (Z, Y, X) of the centre of the first voxel, in the volume's unit; None where it is unknown."""
        volume, header = self.volume, self.header
        if not volume.placed and not any(header.origin):
            return None
        corners = (o - v / 2 + a for o, v, a in zip(volume.offset, volume.voxel_size, header.origin, strict=True))
        return tuple(tidy(corner + v / 2) for corner, v in zip(corners, header.voxel_size, strict=True))

    @property
    def chunks(self) -> Shape:
        """Shape (C, Z, Y, X) of a box of the result that depends on about one stored chunk, with all channels."""
        scale = (b / a for a, b in zip(self.headers[0].voxel_size, self.header.voxel_size, strict=True))
        stored = zip(self.volume.chunks[1:], scale, self.spatial, strict=True)
        return (self.shape[0], *(max(1, min(n, round(c / s))) for c, s, n in stored))

    def boxes(self, box: Box) -> list[Box]:
        """Return the boxes that a box of the result depends on: in the volume, then after each step."""
        boxes = [box]
        for step, header in zip(reversed(self.steps), reversed(self.headers[:-1]), strict=True):
            boxes.append(step.needs(header, boxes[-1]))
        return boxes[::-1]

    def read(self, box: Box) -> np.ndarray:
        """Return the voxels of a box of the result, `(C, *box.shape)`; raise `BadInput` where a step refuses them."""
        first, *rest = self.boxes(box)
        stored = values = self.volume.read(first)
        for step, header, part in zip(self.steps, self.headers[:-1], rest, strict=True):
            try:
                values = step.apply(header, part, values)
            except BadInput as error:
                need_finite(stored, self.path, first.start, then=AGAIN)
                raise BadInput(f"{self.path}: {error}{AGAIN}") from None
        return values

    def memory(self, box: Box) -> int:
        """Return the peak memory of `read` for a box, in bytes, including its result."""
        boxes = self.boxes(box)
        held = [header.nbytes(part) for header, part in zip(self.headers, boxes, strict=True)]
        working = [
            s.working_memory(header, part)
            for s, header, part in zip(self.steps, self.headers[:-1], boxes[1:], strict=True)
        ]
        return max([2 * held[0], *(a + b + w for a, b, w in zip(held[:-1], held[1:], working, strict=True))])

    def decoded_voxels(self, blocks: Sequence[Shape]) -> int:
        """Return the number of voxels of the volume that are decoded, in whole chunks, to compute the result in blocks.

        `blocks` are, for each axis, the sizes of successive blocks; steps treat each axis independently.
        """
        return prod(self._decoded_along(axis, sizes) for axis, sizes in enumerate(blocks))

    def _decoded_along(self, axis: int, sizes: Shape) -> int:
        total, position, chunk, end = 0, 0, self.volume.chunks[axis + 1], self.volume.spatial[axis]
        for size in sizes:
            start, stop = [0, 0, 0], [1, 1, 1]
            start[axis], stop[axis] = position, position + size
            box = self.boxes(Box(tuple(start), tuple(stop)))[0]
            total += min(round_up(box.stop[axis], chunk), end) - box.start[axis] // chunk * chunk
            position += size
        return total


def resolved(chain: Chain) -> Chain:
    """Return the chain with measured boxes and ranges in place of `content`, `minmax` and `percentile`.

    Reads as much of the volume as the measurements need. Raises `BadInput` where a volume has no content or no range.
    """
    for index, step in enumerate(chain.steps):
        if step.data_dependent:
            before = chain.until(index)
            measured = before.then(_resolve(before, step))
            return resolved(measured.then(*chain.steps[index + 1 :]))
    return chain


def _resolve(before: Chain, step: Step) -> Step:
    """Return a step with its box or range measured on its input."""
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
