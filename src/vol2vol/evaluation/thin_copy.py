"""Measure the geometry of a network of `vol2vol.nets` on a thin copy, which is cheap and whose effects never cancel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from vol2vol import nets
from vol2vol.evaluation.probe import Probe, Spread, accepted, measure_axis, positive
from vol2vol.geometry import Footprint, Shape


def measure_thin_copy(network: nn.Module, stated: Footprint) -> tuple[dict[str, Spread], Footprint]:
    """Measure a thin copy of the same layers with positive weights and fixed statistics, which has the same geometry.

    Returns the measured spread per axis, and the copy's footprint as derived from its layers. Of several axes with
    the same `stated` geometry, only the last is measured.
    """
    described: dict[str, Any] = network.describe()  # type: ignore[operator]
    arguments = described["arguments"]
    overrides = {"width": 1, "norm": "frozen", "final": "none", "weights": "plain", "gradient_checkpointing": False}
    copy = nets.build(described["name"], **{**arguments, **{k: v for k, v in overrides.items() if k in arguments}})
    channels: int = copy.in_channels  # type: ignore[assignment]
    geometry = nets.footprint(copy)
    probe = positive(Probe(network=copy.double().eval(), dims=stated.dims, channels=channels, trim=geometry.trim[0]))
    numbers = zip(*stated.reach, stated.period, stated.residue, strict=True)
    spreads: dict[tuple[int, ...], Spread] = {}
    keys = list(numbers)
    for axis in reversed(range(stated.dims)):
        if keys[axis] not in spreads:
            sizes = _sizes(probe, geometry, axis)
            spreads[keys[axis]] = measure_axis(
                probe, sizes, axis, step=geometry.period[axis], guess=stated.period[axis]
            )
    return {"zyx"[axis - stated.dims]: spreads[key] for axis, key in enumerate(keys)}, geometry


def _sizes(probe: Probe, geometry: Footprint, axis: int) -> Iterator[Shape]:
    """Yield growing admissible input sizes: long along one axis, and as small as the network accepts across it."""
    period = geometry.period[axis]
    steps = range(1 + max(n // p for n, p in zip(geometry.minimum, geometry.period, strict=True)))
    columns = list(zip(geometry.residue, geometry.period, geometry.minimum, strict=True))
    small = accepted(probe, (tuple(min(r + k * p, n) for r, p, n in columns) for k in steps)) or geometry.minimum
    reach = max(geometry.reach[0][axis], geometry.reach[1][axis])
    for factor in (2, 4):
        length = geometry.minimum[axis] + factor * (-(-reach // period) + 1) * period
        yield (*small[:axis], length, *small[axis + 1 :])
