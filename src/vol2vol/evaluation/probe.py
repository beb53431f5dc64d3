"""Measure the reach and period of a network from outside: perturb its input and observe which outputs change.

Layers are never inspected: any callable from tensors (1, C, [Z,] Y, X) to tensors with the same number of axes can be
probed. An output that is shorter than the input is assumed to lie in its middle, unless `Probe.trim` states otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import lcm

import torch
from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.evaluation.mismatch import finite_output
from vol2vol.geometry import Footprint, Shape, round_up
from vol2vol.progress import counted
from vol2vol.protocol import Network

REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError)
"""Exceptions that networks raise for a size that they do not accept."""
LONGEST_PERIOD = 64


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The measurements along one axis; None if not bounded by the largest tested input."""

    before: int | None
    """Voxels of context before an output voxel, for tiles on the period grid."""
    after: int | None
    period: int | None
    """Smallest shift the network commutes with."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A network and how its input is perturbed."""

    network: Network
    dims: int
    channels: int
    dtype: torch.dtype = torch.float64
    signed: bool = True
    """Perturb in both directions; False for networks with only positive weights, whose effects never cancel."""
    trim: Shape | None = None
    """Voxels that the output lacks at the start of each axis; None: half of what it lacks."""
    level: tuple[float, ...] = (0.0,)
    """Value that is perturbed, per channel or for all channels."""
    spread: tuple[float, ...] = (1.0,)
    """Standard deviation of noise, per channel or for all; perturbations are about three times as large."""

    @property
    def tolerance(self) -> float:
        """Changes, relative to the largest, that count as rounding; 0 if rounding cannot cause a change."""
        return 0.0 if not self.signed else 1e-10 if self.dtype == torch.float64 else 1e-6

    @torch.no_grad()
    def run(self, size: Sequence[int], axis: int, planes: slice = slice(0), *, noisy: bool = False) -> Tensor:
        """Return the output `(K, n)` along an axis for a constant (or noise) input that is perturbed in some planes.

        Raises `BadInput` if the output is not finite.
        """
        shape = (1, self.channels, *size)
        generator = torch.Generator().manual_seed(0)
        x = torch.zeros(shape, dtype=self.dtype)
        across = [*shape]
        if noisy:
            x = torch.randn(shape, generator=generator, dtype=self.dtype)
        else:
            across[2 + axis] = 1
        noise = torch.rand(across, generator=generator, dtype=self.dtype) + 0.5
        if self.signed:
            noise *= 3 * torch.sign(torch.rand(across, generator=generator, dtype=self.dtype) - 0.5)
        index = [slice(None)] * x.ndim
        index[2 + axis] = planes
        x[tuple(index)] = noise[tuple(index)] if noisy else noise
        tones = (
            torch.tensor(tone, dtype=self.dtype).reshape(-1, *[1] * self.dims) for tone in (self.spread, self.level)
        )
        x.mul_(next(tones)).add_(next(tones))
        return finite_output(self.network(x).movedim(2 + axis, -1).flatten(0, -2))


class NoReaction(Exception):
    """No perturbation of the input changed the output."""


def measure_axis(probe: Probe, sizes: Iterable[Shape], axis: int, *, step: int, guess: int | None = None) -> Spread:
    """Measure reach and period along one axis, with inputs of growing `sizes` until the reach fits inside.

    Admissible sizes are `step` apart. The divisors of `guess` are tried first as periods, which saves time. Raises
    `NoReaction` if the output does not depend on the input.
    """
    spread = Spread(before=None, after=None, period=None)
    for size in sizes:
        spread = _measure(probe, size, axis, step=step, guess=guess)
        if None not in (spread.before, spread.after, spread.period):
            break
    return spread


def _measure(probe: Probe, size: Shape, axis: int, *, step: int, guess: int | None) -> Spread:
    n = size[axis]
    reference = probe.run(size, axis)
    trim = probe.trim[axis] if probe.trim is not None else (n - reference.shape[1]) // 2

    noise_output = probe.run(size, axis, noisy=True) if probe.signed else reference

    def changed(planes: slice, noisy: bool = False) -> tuple[Tensor, int, int]:
        """Return the change along the axis, and the first and last output voxel that changed (-1 if none)."""
        change = probe.run(size, axis, planes, noisy=noisy) - (noise_output if noisy else reference)
        affected = (change.abs() > probe.tolerance * change.abs().max()).any(0).nonzero().flatten()
        return (change, int(affected[0]), int(affected[-1])) if len(affected) else (change, -1, -1)

    end = reference.shape[1] - 1
    period = _period(changed, reference, n // 2, (guess, min(LONGEST_PERIOD, n // 4)), probe.dtype)
    grid = lcm(period or 1, step)
    start = n // 2 // grid * grid
    stop = start + n % grid
    last = changed(slice(0, start), probe.signed)[2]
    first = changed(slice(stop, n), probe.signed)[1]
    if last == first == -1:
        raise NoReaction
    return Spread(
        before=None if last in (-1, end) else max(0, last + trim - start + 1),
        after=None if first in (-1, 0) else max(0, stop - first - trim),
        period=period,
    )


def _period(
    changed: Callable[[slice], tuple[Tensor, int, int]],
    reference: Tensor,
    middle: int,
    limits: tuple[int | None, int],
    dtype: torch.dtype,
) -> int | None:
    """Return the smallest shift by which the response to one plane moves with the plane, None if there is none.

    The plane is the first one, from the middle on, that causes a response; raises `NoReaction` if none does.
    """
    end, longest = reference.shape[1] - 1, limits[1]
    responses = ((at, *changed(slice(at, at + 1))) for at in range(middle, middle + max(1, longest)))
    middle, response, first, last = next(
        (response for response in responses if response[2] != -1), (middle, reference, -1, -1)
    )
    if first == -1:
        raise NoReaction
    if first == 0 or last >= end:
        return None
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4

    def same(a: Tensor, b: Tensor) -> bool:
        return bool((a - b).abs().max() <= tolerance * torch.maximum(a.abs().max(), b.abs().max()))

    for shift in _shifts(*limits):
        shifted, begin, stop = changed(slice(middle + shift, middle + shift + 1))
        if begin <= 0 or stop >= end or (begin - first, stop - last) != (shift, shift):
            continue
        if same(shifted[:, begin : stop + 1], response[:, first : last + 1]) and same(
            reference[:, begin : stop + 1], reference[:, first : last + 1]
        ):
            return shift
    return None


def _shifts(guess: int | None, longest: int) -> Iterator[int]:
    divisors = [n for n in range(1, (guess or 0) + 1) if (guess or 0) % n == 0]
    yield from divisors
    yield from (n for n in range(1, longest + 1) if n not in divisors)


def measure_footprint(probe: Probe, *, longest: int = 256, size: Shape | None = None) -> tuple[Footprint, bool]:
    """Measure the footprint of a network that is only known as a callable, and return whether its reach is bounded.

    Sizes up to `longest` are tried, unless `size` names an accepted one. Only changes beyond rounding are measured, so
    the true reach may be larger. If the reach is not bounded, the footprint has the largest one that was observed.
    Raises `BadInput` if no size is accepted or the output does not have one voxel per input voxel, `NoReaction` if the
    output does not depend on the input.
    """
    base = size or accepted(probe, ((n,) * probe.dims for n in (*range(8, longest + 1), *range(1, 8))))
    if base is None:
        raise BadInput(f"the network accepts no input of up to {longest} voxels per axis: give size=(...)")
    each = counted(range(probe.dims), "measuring axes", probe.dims)
    axes = [_measure_free(probe, base, axis, longest) for axis in each]
    spreads, steps, trims = zip(*axes, strict=True)
    period = tuple(lcm(s.period or 1, step) for s, step in zip(spreads, steps, strict=True))
    reach = tuple(
        tuple(side if side is not None else n // 2 for side, n in zip(sides, base, strict=True))
        for sides in ([s.before for s in spreads], [s.after for s in spreads])
    )
    residue = tuple(n % p for n, p in zip(base, period, strict=True))
    minimum = tuple(
        max(n % p, round_up(max(0, a + b + 1 - n % p), p) + n % p)
        for n, p, a, b in zip(base, period, *reach, strict=True)
    )
    trim = tuple(t // 2 for t in trims), tuple(t - t // 2 for t in trims)
    bounded = all(None not in (s.before, s.after, s.period) for s in spreads)
    foot = Footprint(reach=(reach[0], reach[1]), period=period, residue=residue, minimum=minimum, trim=trim)
    return foot, bounded


def _measure_free(probe: Probe, base: Shape, axis: int, longest: int) -> tuple[Spread, int, int]:
    """Return spread, distance between accepted sizes, and lost voxels along an axis of an unknown network."""
    trim = base[axis] - _length(probe, base, axis)
    larger = [
        size
        for n in range(base[axis] + 1, base[axis] + LONGEST_PERIOD + 1)
        if accepted(probe, [size := _with(base, axis, n)])
    ]
    if not larger:
        return measure_axis(probe, [base], axis, step=1), 1, trim
    same_trim = next((size[axis] for size in larger if size[axis] - _length(probe, size, axis) == trim), None)
    if same_trim is None:
        raise BadInput("the network's output does not have one voxel per input voxel: its tiles cannot be stitched")
    step = same_trim - base[axis]
    lengths = sorted(
        {base[axis] + round_up(max(0, n - base[axis]), step) for n in (longest // 4, longest // 2, longest)}
    )
    return measure_axis(probe, (_with(base, axis, n) for n in lengths), axis, step=step), step, trim


def _with(size: Shape, axis: int, n: int) -> Shape:
    return (*size[:axis], n, *size[axis + 1 :])


@torch.no_grad()
def accepted(probe: Probe, sizes: Iterable[Shape]) -> Shape | None:
    """Return the first of some sizes that a network accepts, None if it refuses all of them."""
    for size in sizes:
        try:
            y = probe.network(torch.zeros(1, probe.channels, *size, dtype=probe.dtype))
        except REFUSALS:
            continue
        if isinstance(y, Tensor) and y.ndim == 2 + probe.dims and min(y.shape) > 0:
            return size
    return None


def _length(probe: Probe, size: Shape, axis: int) -> int:
    return probe.run(size, axis).shape[1]


def positive(probe: Probe) -> Probe:
    """Return the probe after making weights positive and biases zero in place, so that nothing cancels."""
    generator = torch.Generator().manual_seed(7)
    modules = probe.network.modules() if isinstance(probe.network, torch.nn.Module) else []
    for module in modules:
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(weight, Tensor):
            noise = torch.rand(weight.shape, generator=generator, dtype=torch.float64)
            weight.data = (noise + 0.5) / weight[0].numel()
        if isinstance(bias, Tensor):
            bias.data = torch.zeros_like(bias, dtype=torch.float64)
    return replace(probe, signed=False)
