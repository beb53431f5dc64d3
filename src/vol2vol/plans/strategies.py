"""Define the stitching strategies: how to cut a volume into tiles and reassemble the network's outputs (`plan.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Literal

from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape, round_up
from vol2vol.plans.plan import Plan, Window

Strategy = Literal["exact", "printed", "disjoint", "average", "blend", "march"]


def exact(footprint: Footprint, tile: Shape) -> Plan:
    """Return the plan of tile-and-stitch in phase with one pass from the volume's origin (Rumberger et al. 2021).

    The margins are the smallest that cover the reach and keep every tile on the period grid: 64/62 for the paper's
    U-Net of five levels, where the paper's own 63/63 is one voxel out of phase. Raises `BadInput` for a tile that the
    network does not admit or that is too small.
    """
    footprint.check(tile)
    before = tuple(round_up(r, p) for r, p in zip(footprint.reach[0], footprint.period, strict=True))
    after = tuple(
        r + (t - b - r) % p for r, t, b, p in zip(footprint.reach[1], tile, before, footprint.period, strict=True)
    )
    step = tuple(t - b - a for t, b, a in zip(tile, before, after, strict=True))
    if min(step) < 1:
        smallest = tuple(smallest_exact_tile(footprint, axis) for axis in range(footprint.dims))
        raise BadInput(f"tile {tile} is too small for exact stitching: the smallest that works is {smallest}")
    return Plan(tile=tile, margin=(before, after), step=step, origin=(0,) * len(tile))


def smallest_exact_tile(footprint: Footprint, axis: int) -> int:
    """Return the smallest tile of an exact plan on one axis: one period of kept voxels."""
    period = footprint.period[axis]
    least = round_up(footprint.reach[0][axis], period) + footprint.reach[1][axis] + 1
    size = footprint.admissible(least, axis, at_least=True)
    kept = size - round_up(footprint.reach[0][axis], period) - footprint.reach[1][axis]
    return size if kept >= period else size + period


def printed(footprint: Footprint, tile: Shape) -> Plan:
    """Return the plan of tile-and-stitch as printed in the paper (section 8.2): even margins, 63/63 for 190.

    It is seamless, but out of phase with one pass from the volume's origin. Raises what `exact` raises.
    """
    plan = exact(footprint, tile)
    total = tuple(a + b for a, b in zip(*plan.margin, strict=True))
    before = tuple(t // 2 for t in total)
    return replace(plan, margin=(before, tuple(t - b for t, b in zip(total, before, strict=True))))


def disjoint(footprint: Footprint, tile: Shape) -> Plan:
    """Return the plan that puts whole outputs side by side ("valid, no overlap" in the paper): seams by construction.

    Tiles overlap by the voxels that the network itself cuts off; a network that cuts off its whole reach leaves no
    seams. Raises `BadInput` for a tile that the network does not admit.
    """
    footprint.check(tile)
    before, after = footprint.trim
    step = tuple(n - a - b for n, a, b in zip(tile, before, after, strict=True))
    return Plan(tile=tile, margin=(before, after), step=step, origin=(0,) * len(tile))


def average(footprint: Footprint, tile: Shape, halo: int = 16, overlap: int = 32) -> Plan:
    """Return the plan of padded tiles without their halo, averaged where they overlap ("same padding, overlap").

    The paper's 190 + 2*16 = 222 is not admissible for a padded network of five levels; its code used 192. Raises
    `BadInput` for a tile that the network does not admit, or that is too small for halo and overlap.
    """
    return _overlapping(footprint, tile, halo, overlap, "flat")


def blend(footprint: Footprint, tile: Shape, window: Window = "linear", *, halo: int = 16, overlap: int = 32) -> Plan:
    """Return the plan of `average` with weights that decrease towards the border of a tile."""
    return _overlapping(footprint, tile, halo, overlap, window)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How tiles share voxels, for the strategies that average them."""

    halo: int | None = None
    """Voxels cut off each side of a tile; by default 16, fewer for small tiles."""
    overlap: int | None = None
    """Voxels shared by neighbouring kept parts; by default 32, fewer for small tiles."""
    window: Window = "linear"
    keep: float | None = None
    """March: share of an overlap that the earlier tile keeps; by default half."""
    shown: tuple[float, float] | None = None
    """March: the narrowest and the widest overlap that training has shown, as shares of a tile; None: none."""

    def of(self, tile: Shape, footprint: Footprint) -> tuple[int, int]:
        """Return halo and overlap for a tile; by default the halo is at least the network's trim."""
        cut = max(max(side) for side in footprint.trim)
        halo = max(cut, min(16, min(tile) // 8)) if self.halo is None else self.halo
        return halo, min(32, min(tile) // 4) if self.overlap is None else self.overlap


def march(footprint: Footprint, tile: Shape, how: Overlap) -> Plan:
    """Return the plan of tiles that are predicted in order, each shown what earlier ones painted where they overlap.

    Tile k of an axis starts at k * (tile - overlap); of an overlap the earlier tile keeps the first `margin[0]` voxels,
    the later one the rest (Boehland et al. 2023). By default tiles overlap by the widest share that training has
    shown, or a quarter. The first and the last tile of an axis keep their ends, so `kept` is that of tiles between
    them; `OrderedTiles` has all. Raises `BadInput` for a tile that the network does not admit or whose border it cuts
    off, and for an overlap that leaves no tile, or that training has not shown.
    """
    footprint.check(tile)
    if max(map(max, footprint.trim)):
        raise BadInput(
            "the network cuts off the border of a tile, which a march would show next: use another `strategy`"
        )
    low, high = how.shown or (0.25, 0.25)
    usual = tuple(min(n - 1, max(1, _rounded(high * n))) for n in tile)
    overlap = usual if how.overlap is None else (how.overlap,) * len(tile)
    cure = f"use `overlap` {' or '.join(dict.fromkeys(map(str, usual)))}"
    if min(overlap) < 1:
        raise BadInput(
            f"overlap {min(overlap)} shows a tile nothing of earlier ones, which is strategy disjoint: {cure}"
        )
    for n, width in zip(tile, overlap, strict=True):
        if width >= n:
            raise BadInput(f"overlap {width} leaves nothing of a tile of {n}: {cure}")
        if how.shown and not int(low * n) <= width <= ceil(high * n):
            trained = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            raise BadInput(
                f"overlap {width} of a tile of {n} was not shown in training, which had {trained} of its length: "
                f"{cure}, or leave it out"
            )
    kept = tuple(_rounded((0.5 if how.keep is None else how.keep) * width) for width in overlap)
    rest = tuple(width - first for width, first in zip(overlap, kept, strict=True))
    step = tuple(n - width for n, width in zip(tile, overlap, strict=True))
    return Plan(tile=tile, margin=(kept, rest), step=step, origin=kept)


def _rounded(value: float) -> int:
    return floor(value + 0.5)


@dataclass(frozen=True, kw_only=True)
class Way:
    """What a strategy consists of: its plan and the variant of the network."""

    make: Callable[[Footprint, Shape, Overlap], Plan]
    network: Literal["cropped", "full", "padded"]
    """Variant of the network: `cropped` to certain voxels, `full` output, or `padded` inside."""
    seamless: bool
    """Whether the strategy needs a network whose output does not depend on the tile."""


WAYS: dict[Strategy, Way] = {
    "exact": Way(make=lambda foot, tile, _: exact(foot, tile), network="cropped", seamless=True),
    "printed": Way(make=lambda foot, tile, _: printed(foot, tile), network="cropped", seamless=True),
    "disjoint": Way(make=lambda foot, tile, _: disjoint(foot, tile), network="full", seamless=False),
    "average": Way(make=lambda foot, tile, o: average(foot, tile, *o.of(tile, foot)), network="padded", seamless=False),
    "blend": Way(
        make=lambda foot, tile, o: blend(foot, tile, o.window, halo=o.of(tile, foot)[0], overlap=o.of(tile, foot)[1]),
        network="padded",
        seamless=False,
    ),
    "march": Way(make=march, network="padded", seamless=False),
}
"""Every strategy by name. To add one, write a function that returns a `Plan`; add its name here and to `Strategy`."""


def _overlapping(footprint: Footprint, tile: Shape, halo: int, overlap: int, window: Window) -> Plan:
    footprint.check(tile)
    if halo < 0 or overlap < 0:
        raise BadInput(f"halo {halo} and overlap {overlap} must not be negative")
    if (cut := max(max(side) for side in footprint.trim)) > halo:
        raise BadInput(f"halo {halo} is less than the {cut} voxels that the network cuts off a tile: use {cut} or more")
    margin = (halo,) * len(tile)
    step = tuple(t - 2 * halo - overlap for t in tile)
    if min(step) < 1:
        raise BadInput(
            f"tile {tile} is too small for halo {halo} and overlap {overlap}: use more than {2 * halo + overlap}"
        )
    return Plan(tile=tile, margin=(margin, margin), step=step, origin=(0,) * len(tile), window=window)
