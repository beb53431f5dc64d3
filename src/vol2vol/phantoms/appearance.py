"""Render tissue as one domain shows it: with the stain, contrast, sharpness and noise of a microscope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vol2vol.geometry import Box, grid
from vol2vol.phantoms.neurites import Scene
from vol2vol.phantoms.noise import blur, enlarge, key, nodes, reach, smooth, white
from vol2vol.phantoms.tissue import Tissue, tissue

BLOCK = (64, 256, 256)
"""Voxels (Z, Y, X) that are rendered at once: about 50 bytes of memory per voxel, 200 MB."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The appearance of tissue: grey = offset + gain * brightness**gamma, blurred, plus noise; brightness is 0 to 1."""

    name: str
    offset: float
    gain: float
    gamma: float
    stain: float
    """Darkness of mitochondria relative to membranes."""
    texture: float
    """Strength of the granular cytoplasm."""
    sharpness: tuple[float, float, float]
    """Standard deviation of the point spread function, in voxels, ZYX."""
    noise: float
    """Standard deviation of the noise, in grey levels."""
    correlation: float
    """Standard deviation, in voxels, of the Gaussian that correlates the noise within a plane."""
    mitochondria: float
    """Density of mitochondria in tissue of this kind; `scene_of` copies it to `Scene.mitochondria`."""


DOMAINS = {
    "rat": Domain(
        name="rat",
        offset=18,
        gain=215,
        gamma=1.0,
        stain=1.0,
        texture=1.0,
        sharpness=(0.6, 0.6, 0.6),
        noise=8.0,
        correlation=0.0,
        mitochondria=0.75,
    ),
    "human": Domain(
        name="human",
        offset=52,
        gain=150,
        gamma=1.5,
        stain=0.85,
        texture=1.5,
        sharpness=(1.0, 0.85, 0.85),
        noise=10.0,
        correlation=0.8,
        mitochondria=0.45,
    ),
}


def render(scene: Scene, domain: Domain, box: Box) -> np.ndarray:
    """Return a box of a scene as a domain shows it, uint8 (1, Z, Y, X); boxes may lie anywhere, even below zero."""
    result = np.empty((1, *box.shape), np.uint8)
    for block in grid(box, BLOCK):
        result[0][block.relative_to(box.start).slices] = _grey(scene, domain, block)
    return result


def mask(scene: Scene, box: Box) -> np.ndarray:
    """Return the mitochondria of a box of a scene, uint8 (1, Z, Y, X), 1 inside and 0 elsewhere."""
    result = np.empty((1, *box.shape), np.uint8)
    for block in grid(box, BLOCK):
        result[0][block.relative_to(box.start).slices] = tissue(scene, block).mito < 0
    return result


def _grey(scene: Scene, domain: Domain, box: Box) -> np.ndarray:
    radii = tuple(map(reach, domain.sharpness))
    wide = box.grow(radii, radii)
    bright = _brightness(scene, domain, wide)
    if domain.gamma != 1:
        np.power(bright, np.float32(domain.gamma), out=bright)
    grey = blur(bright, domain.sharpness)
    grey *= np.float32(domain.gain)
    grey += np.float32(domain.offset)
    if domain.noise:
        plane = (0.0, domain.correlation, domain.correlation)
        radii = tuple(map(reach, plane))
        grain = white(key(scene.seed, domain.name, "noise"), box.grow(radii, radii))
        grey += blur(grain, plane, keep_variance=True) * np.float32(domain.noise)
    result: np.ndarray = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return result


def _brightness(scene: Scene, domain: Domain, box: Box) -> np.ndarray:
    """Return the brightness of tissue before it is imaged, float32 in [0, 1]."""
    content = tissue(scene, box)
    points = nodes(box, 2)
    grain = smooth(scene.key("grain"), points, 4.0, 2) + smooth(scene.key("coarse"), points, 11.0, 2)
    grain *= np.float32(0.03 * domain.texture)
    sheet = np.abs(smooth(scene.key("reticulum"), points, 26.0, 2)) / np.float32(0.09)
    grain -= np.float32(0.16) * np.exp(-(sheet**2))
    synapse = np.clip(smooth(scene.key("synapse"), points, 34.0, 2) - np.float32(1.2), 0, 1)
    bright = np.float32(0.74) + np.float32(0.09) * content.tone + enlarge(grain, box, 2)
    bright += np.float32(0.24) * content.vesicle
    _paint_mitochondria(bright, content, np.float32(domain.stain))
    thick = np.float32(1.5) + np.float32(2.5) * enlarge(synapse, box, 2)
    wall = np.exp(-((content.gap / thick) ** 2))
    bright -= (bright - np.float32(0.14)) * wall
    result: np.ndarray = np.clip(bright, 0, 1, out=bright)
    return result


def _paint_mitochondria(bright: np.ndarray, content: Tissue, stain: np.float32) -> None:
    """Darken the matrix, the cristae and two membranes with a lighter gap between them."""
    inside = content.mito < 1
    depth = -content.mito[inside]
    sheets = content.cristae[inside] * np.clip(depth - np.float32(3), 0, 1)
    matrix = np.clip(depth - np.float32(2), 0, 1)
    outer = np.exp(-((depth - np.float32(0.6)) ** 2))
    inner = np.exp(-((depth - np.float32(3.6)) ** 2))
    dark = np.float32(0.3) * matrix + np.float32(0.22) * sheets + np.float32(0.42) * outer + np.float32(0.12) * inner
    bright[inside] -= stain * dark
