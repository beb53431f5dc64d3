"""What is where in a phantom: neurites, mitochondria and vesicles, as a pure function of a scene and a position.

Neurites are the Voronoi cells of line segments with thicknesses, in space bent by smooth noise: tubes that fill it,
separated by membranes. Mitochondria lie on their axes. The lattice has one segment per cell of `LATTICE` voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vol2vol.geometry import Box
from vol2vol.phantoms.noise import enlarge, hashes, key, nodes, scramble, smooth, uniform

LATTICE = 56
LENGTH = 80
"""Longest half of a segment."""
SLOTS = 3
"""Places for mitochondria along a segment."""
UNIT = 8
"""Voxels on a side of the blocks that look up their neurites together."""
NEAR = 6
"""Neurites that a block may meet."""
SIGHT = 100
"""No block's nearest neurites are further than this many voxels away."""
BEND = ((44.0, 7.0), (17.0, 1.6))
"""Period and amplitude of the noise that bends space."""


@dataclass(frozen=True)
class Scene:
    """A piece of tissue without end; two scenes of different seed have nothing in common."""

    seed: int
    mitochondria: float = 0.5
    """Chance that a place on a neurite's axis is taken by a mitochondrion."""
    vesicles: float = 0.5
    """Share of the terminals that are filled with vesicles."""

    def key(self, *what: object) -> int:
        """Return the key of one property of this scene's tissue."""
        return key(self.seed, *what)


@dataclass(frozen=True, eq=False)
class Neurites:
    """Segments in voxels: `n` of them, in the order of their lattice cells."""

    name: np.ndarray
    centre: np.ndarray
    axis: np.ndarray
    half: np.ndarray
    radius: np.ndarray
    tone: np.ndarray


@dataclass(frozen=True, eq=False)
class Tissue:
    """What fills a box; float32 arrays of its shape."""

    gap: np.ndarray
    """Distance to the nearest membrane, in voxels."""
    tone: np.ndarray
    """Brightness of the cytoplasm of the neurite, -1 to 1."""
    mito: np.ndarray
    """Signed distance to the surface of a mitochondrion, negative inside."""
    cristae: np.ndarray
    """0 to 1, one on the sheets inside mitochondria."""
    vesicle: np.ndarray
    """-1 in the membrane of a vesicle to 1 in its lumen."""


def tissue(scene: Scene, box: Box) -> Tissue:
    """Return what fills a box; the same for every box that holds the voxel."""
    whole = Box(tuple(a // UNIT * UNIT for a in box.start), tuple(-(-b // UNIT) * UNIT for b in box.stop))
    bend = _bend(scene, nodes(whole, 4))
    neurites = _neurites(scene, _lattice(box, SIGHT + LENGTH))
    inner = box.relative_to(whole.start).slices
    gap, tone, owner = (field[inner] for field in _cells(neurites, whole, bend))
    mito = np.full(box.shape, 2.0, np.float32)
    cristae = np.zeros(box.shape, np.float32)
    grid = nodes(whole, 4)
    for one in _mitochondria(scene, neurites, box):
        near, rest = _bent(one, box, bend, grid)
        if near.size:
            part = near.relative_to(box.start).slices
            inside = np.where(owner[part] == one.owner, gap[part], -gap[part])
            surface, sheets = _mitochondrion(one, rest)
            np.maximum(surface, np.float32(3.0) - inside, out=surface)
            cristae[part] = np.where(surface < mito[part], sheets, cristae[part])
            np.minimum(mito[part], surface, out=mito[part])
    return Tissue(gap, tone, mito, cristae, _vesicles(scene, box, gap, owner))


def _lattice(box: Box, margin: int) -> Box:
    """Return the lattice cells within a margin of a box."""
    return Box(tuple((a - margin) // LATTICE for a in box.start), tuple((b + margin) // LATTICE + 1 for b in box.stop))


def _bend(scene: Scene, grid: Box) -> np.ndarray:
    """Return the displacements (3, ...) that bend space, at the points `4 * index` of a box of indices."""
    fields = [sum(smooth(scene.key("bend", axis, p), grid, p, 4) * np.float32(a) for p, a in BEND) for axis in range(3)]
    return np.stack(fields)


@lru_cache(maxsize=8)
def _neurites(scene: Scene, cells: Box) -> Neurites:
    """Return the segments of a box of lattice cells; neighbours tend to run alike, most are thin."""

    def draw(what: str) -> np.ndarray:
        return uniform(scene.key(what), cells).ravel().astype(np.float64)

    corner = np.stack(np.meshgrid(*map(np.arange, cells.start, cells.stop), indexing="ij"), -1).reshape(-1, 3)
    jitter = np.stack([draw(f"centre {axis}") for axis in "zyx"], -1)
    turn, height = 2 * np.pi * draw("turn"), 2 * draw("height") - 1
    flat = np.sqrt(1 - height**2)
    axis = np.stack([height, flat * np.sin(turn), flat * np.cos(turn)], -1)
    axis += 0.45 * np.stack([smooth(scene.key("flow", a), cells, 6.0).ravel() for a in "zyx"], -1)
    axis /= np.sqrt(axis[:, :1] ** 2 + axis[:, 1:2] ** 2 + axis[:, 2:] ** 2)
    return Neurites(
        name=hashes(scene.key("name"), cells).ravel(),
        centre=(corner + jitter) * LATTICE,
        axis=axis,
        half=LENGTH * (0.5 + 0.5 * draw("half")),
        radius=22 * draw("radius") ** 3,
        tone=2 * draw("tone") - 1,
    )


def _distance(points: list[np.ndarray], axis: list[np.ndarray], half: np.ndarray) -> np.ndarray:
    """Return the distance of points, relative to the centre of a segment, from that segment."""
    z, y, x = points
    along = z * axis[0] + y * axis[1] + x * axis[2]
    beyond = along - np.clip(along, -half, half)
    squared = z * z + y * y + x * x - along * along + beyond * beyond
    return np.sqrt(np.maximum(squared, 0))


def _cells(neurites: Neurites, whole: Box, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gap, tone and owner of a box on the grid of units, one layer of units at a time."""
    gap, tone = np.empty(whole.shape, np.float32), np.empty(whole.shape, np.float32)
    owner = np.empty(whole.shape, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(bend, (3, 3, 3), axis=(1, 2, 3))[:, ::2, ::2, ::2]
    rows, columns = (np.arange(a, b, UNIT) for a, b in zip(whole.start[1:], whole.stop[1:], strict=True))
    for layer in range(windows.shape[1]):
        z = whole.start[0] + layer * UNIT
        corners = np.stack(np.meshgrid([z], rows, columns, indexing="ij"), -1).reshape(-1, 3)
        moved = windows[:, layer].reshape(3, len(corners), 1, 3, 3, 3)
        near = _nearest(neurites, corners, moved[:, :, 0, 1, 1, 1])
        distance = _to_neurites(neurites, near, corners, moved)
        first = np.full((len(corners), UNIT, UNIT, UNIT), np.inf, np.float32)
        second, shade, named = first.copy(), np.zeros_like(first), np.zeros(first.shape, np.uint32)
        for k in range(NEAR):
            d, which = distance[:, k], near[:, k, None, None, None]
            nearer = d < first
            np.minimum(second, np.maximum(d, first), out=second)
            np.minimum(first, d, out=first)
            np.copyto(shade, neurites.tone[which].astype(np.float32), where=nearer)
            np.copyto(named, neurites.name[which], where=nearer)
        span = slice(layer * UNIT, (layer + 1) * UNIT)
        for target, values in ((gap, (second - first) * np.float32(0.5)), (tone, shade), (owner, named)):
            units = values.reshape(len(rows), len(columns), UNIT, UNIT, UNIT).transpose(2, 0, 3, 1, 4)
            target[span] = units.reshape(UNIT, *whole.shape[1:])
    return gap, tone, owner


def _nearest(neurites: Neurites, corners: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return the indices (n, NEAR) of the neurites nearest to the middles of units."""
    middle = [corners[:, a, None] + UNIT / 2 + moved[a][:, None] for a in range(3)]
    points = [(m - neurites.centre[:, a]).astype(np.float32) for a, m in enumerate(middle)]
    axis = [neurites.axis[:, a].astype(np.float32) for a in range(3)]
    distance = _distance(points, axis, neurites.half.astype(np.float32)) - neurites.radius
    return np.argpartition(distance, NEAR, axis=1)[:, :NEAR]


def _to_neurites(neurites: Neurites, near: np.ndarray, corners: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return distances (n, NEAR, UNIT, UNIT, UNIT): exact at every fourth voxel, linear between."""
    wide = (..., None, None, None)
    centre = (corners[:, None] - neurites.centre[near]).astype(np.float32)
    offsets = np.arange(3, dtype=np.float32) * 4
    shapes = ((3, 1, 1), (1, 3, 1), (1, 1, 3))
    points = [centre[..., a][wide] + (offsets.reshape(shapes[a]) + moved[a]) for a in range(3)]
    axis = [neurites.axis[near][..., a].astype(np.float32)[wide] for a in range(3)]
    half, radius = (v[near].astype(np.float32)[wide] for v in (neurites.half, neurites.radius))
    values = _distance(points, axis, half) - radius
    weight = np.arange(4, dtype=np.float32) / 4
    for axis_of in (2, 3, 4):
        values = np.moveaxis(values, axis_of, -1)
        values = values[..., :2, None] + (values[..., 1:] - values[..., :2])[..., None] * weight
        values = np.moveaxis(values.reshape(*values.shape[:-2], UNIT), -1, axis_of)
    return values


@dataclass(frozen=True, eq=False)
class _Mitochondrion:
    """A capsule in bent space, inside the neurite `owner`."""

    owner: int
    centre: np.ndarray
    axis: np.ndarray
    side: np.ndarray
    half: float
    radius: float
    phase: float


def _mitochondria(scene: Scene, neurites: Neurites, box: Box) -> list[_Mitochondrion]:
    """Return the mitochondria that may touch a box, in the order of their names; each fits into its neurite."""
    margin = LENGTH / SLOTS + 40
    found = []
    for slot in range(SLOTS):
        place, kind, length, width, phase = (
            _unit_floats(neurites.name, scene.key(what, slot)) for what in ("place", "kind", "length", "width", "phase")
        )
        along = neurites.half * ((2 * slot + 0.6 + 0.8 * place) / SLOTS - 1)
        centre = neurites.centre + along[:, None] * neurites.axis
        near = ((centre > np.array(box.start) - margin) & (centre < np.array(box.stop) + margin)).all(1)
        for n in np.flatnonzero(near & (kind < scene.mitochondria)):
            radius = min(6.0 + 6.0 * width[n], 0.8 * _room(neurites, int(n), centre[n]))
            if radius < 4.5:
                continue
            axis = neurites.axis[n]
            side = np.cross(axis, np.roll(axis, 1) + 0.1)
            found.append(
                _Mitochondrion(
                    owner=int(neurites.name[n]),
                    centre=centre[n],
                    axis=axis,
                    side=side / np.sqrt((side * side).sum()),
                    half=float(neurites.half[n] / SLOTS * (0.2 + 0.75 * length[n])),
                    radius=float(radius),
                    phase=float(2 * np.pi * phase[n]),
                )
            )
    return found


def _unit_floats(names: np.ndarray, salt: int) -> np.ndarray:
    """Return one float64 in [0, 1) per name."""
    return (scramble(names ^ np.uint32(salt)) >> np.uint32(8)) * 2.0**-24


def _room(neurites: Neurites, own: int, point: np.ndarray) -> float:
    """Return the distance from a point on a neurite's axis to its membrane."""
    points = [point[a] - neurites.centre[:, a] for a in range(3)]
    distance = _distance(points, list(neurites.axis.T), neurites.half) - neurites.radius
    inside = distance[own]
    distance[own] = np.inf
    return float(distance.min() - inside) / 2


def _bent(one: _Mitochondrion, box: Box, bend: np.ndarray, grid: Box) -> tuple[Box, list[np.ndarray]]:
    """Return the part of a box that may hold a mitochondrion, and its voxels in bent space relative to the centre."""
    wide = np.ceil(np.abs(one.axis) * one.half + one.radius + 26).astype(int)
    middle = np.floor(one.centre).astype(int)
    part = Box(tuple(map(int, middle - wide)), tuple(map(int, middle + wide + 1))) & box
    for margin in (8.0, None):
        if not part.size:
            break
        here = nodes(part, 4)
        local = bend[:, *here.relative_to(grid.start).slices]
        if margin is None:
            return part, [
                enlarge(local[a], part, 4) + _column(part.start[a], part.stop[a], one.centre[a], a) for a in range(3)
            ]
        rest = [local[a] + _column(here.start[a], here.stop[a], one.centre[a], a, 4) for a in range(3)]
        close = np.argwhere(_capsule(one, rest) < margin)
        if not len(close):
            break
        low, high = (close.min(0) + here.start) * 4 - 3, (close.max(0) + here.start) * 4 + 4
        part = part & Box(tuple(map(int, low)), tuple(map(int, high)))
    return Box((0, 0, 0), (0, 0, 0)), []


def _column(start: int, stop: int, zero: float, axis: int, spacing: int = 1) -> np.ndarray:
    """Return float32 positions along one axis, relative to `zero`, to be broadcast."""
    shape = [-1 if n == axis else 1 for n in range(3)]
    return (np.arange(start, stop) * spacing - zero).astype(np.float32).reshape(shape)


def _capsule(one: _Mitochondrion, rest: list[np.ndarray]) -> np.ndarray:
    axis = [np.float32(v) for v in one.axis]
    return _distance(rest, axis, np.float32(one.half)) - np.float32(one.radius)


def _mitochondrion(one: _Mitochondrion, rest: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the signed distance to the surface, and how much each voxel belongs to a sheet of the cristae."""
    (z, y, x), (u, v) = rest, (one.axis.astype(np.float32), one.side.astype(np.float32))
    along = z * u[0] + y * u[1] + x * u[2]
    across = z * v[0] + y * v[1] + x * v[2]
    swell = np.sin(along * np.float32(0.16) + np.float32(one.phase))
    surface = _capsule(one, rest) - np.float32(0.12 * one.radius) * swell
    lean = np.float32(0.7 * np.sin(3 * one.phase))
    ripple = np.sin(across * np.float32(0.45) + np.float32(one.phase))
    sheets = np.sin((along + lean * across + ripple) * np.float32(2 * np.pi / 7.5))
    return surface, np.clip(sheets * np.float32(1.6) - np.float32(0.3), 0, 1)


def _vesicles(scene: Scene, box: Box, gap: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return small shells that crowd in some places of some neurites."""
    result = np.zeros(box.shape, np.float32)
    cells = Box(tuple((a - 4) // 8 for a in box.start), tuple((b + 4) // 8 + 1 for b in box.stop))
    crowd = smooth(scene.key("crowd"), cells, 6.0) + uniform(scene.key("vesicle"), cells) > 1.3
    jitter = [uniform(scene.key("jitter", a), cells) for a in "zyx"]
    for index in np.argwhere(crowd):
        at = [float((i + c) * 8 + 2 + 4 * j[tuple(index)]) for i, c, j in zip(index, cells.start, jitter, strict=True)]
        part = Box(tuple(int(a) - 4 for a in at), tuple(int(a) + 6 for a in at)) & box
        if part.size:
            z, y, x = (_column(a, b, c, n) for n, (a, b, c) in enumerate(zip(part.start, part.stop, at, strict=True)))
            r = np.sqrt(z * z + y * y + x * x)
            shell = np.clip(2.2 - r, 0, 1) - np.exp(-(((r - np.float32(2.6)) / np.float32(0.9)) ** 2))
            result[part.relative_to(box.start).slices] += shell
    filled = (owner >> np.uint32(20) & np.uint32(0xFF)).astype(np.float32) < 256 * scene.vesicles
    result *= np.clip(gap - np.float32(2), 0, 1) * filled
    return result
