"""Measure the geometry of a network of `vol2vol.nets` on a thin twin, where nothing cancels and little is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from vol2vol import nets
from vol2vol.evaluation.probe import Probe, Spread, accepted, measure_axis, positive
from vol2vol.geometry import Footprint, Shape


def measure_twin(network: nn.Module, claim: Footprint) -> tuple[dict[str, Spread], Footprint]:
    """Measure a twin of the same layers, thin and with positive weights, its statistics fixed: geometry alone.

    Returns what its layers say beside. Along axes with the same claim only the last is measured.
    """
    described: dict[str, Any] = network.describe()  # type: ignore[operator]
    arguments = described["arguments"]
    plain = {"width": 1, "norm": "frozen", "final": "none", "gradient_checkpointing": False}
    twin = nets.build(described["name"], **{**arguments, **{k: v for k, v in plain.items() if k in arguments}})
    channels: int = twin.in_channels  # type: ignore[assignment]
    geometry = nets.footprint(twin)
    probe = positive(Probe(network=twin.double().eval(), dims=claim.dims, channels=channels, trim=geometry.trim[0]))
    numbers = zip(*claim.reach, claim.period, claim.residue, strict=True)
    found: dict[tuple[int, ...], Spread] = {}
    alike = list(numbers)
    for axis in reversed(range(claim.dims)):
        if alike[axis] not in found:
            sizes = _sizes(probe, geometry, axis)
            found[alike[axis]] = measure_axis(probe, sizes, axis, step=geometry.period[axis], guess=claim.period[axis])
    return {"zyx"[axis - claim.dims]: found[key] for axis, key in enumerate(alike)}, geometry


def _sizes(probe: Probe, geometry: Footprint, axis: int) -> Iterator[Shape]:
    """Yield growing admissible inputs, long along one axis, across it as small as the network takes."""
    period = geometry.period[axis]
    steps = range(1 + max(n // p for n, p in zip(geometry.minimum, geometry.period, strict=True)))
    columns = list(zip(geometry.residue, geometry.period, geometry.minimum, strict=True))
    small = accepted(probe, (tuple(min(r + k * p, n) for r, p, n in columns) for k in steps)) or geometry.minimum
    reach = max(geometry.reach[0][axis], geometry.reach[1][axis])
    for factor in (2, 4):
        length = geometry.minimum[axis] + factor * (-(-reach // period) + 1) * period
        yield (*small[:axis], length, *small[axis + 1 :])
