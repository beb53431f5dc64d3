"""Whether the stripes of each labelled object go on as they began: one colour, one direction, one phase.

The wave of an object's stripes is found from its Fourier transform, in the part that has its colour. Where the image,
multiplied by that wave and averaged over about a period, has another phase or hardly any amplitude, the stripes are
others than those of the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import fft, ndimage

from vol2vol.shapes import shaped

ROUNDS = 3
"""How often the wave is corrected by the drift of the phase that it leaves."""


class Striping(BaseModel):
    """When the stripes of an object have changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    period: float = Field(ge=4)
    """Distance between the middles of neighbouring stripes in voxels."""
    least: float = Field(default=0.05, gt=0, lt=1)
    """Share of an object's inner voxels whose stripes are others, above which it has changed."""
    amplitude: float = Field(default=0.25, gt=0, lt=1)
    """Amplitude of the stripes, as a share of the object's own, below which a place has others or none."""
    visible: float = Field(default=0.05, ge=0, lt=1)
    """Amplitude, as a share of the full scale, below which an object has no stripes."""


@dataclass(frozen=True, kw_only=True)
class Striped:
    """What is known of one object's stripes."""

    inner: int
    """Voxels further than half a period from the object's edge, which are judged."""
    amplitude: float
    """Amplitude of its stripes, as a share of the full scale."""
    colour: int
    """The brightest channel."""
    wave: tuple[float, ...]
    """Periods per voxel along each axis."""
    other_colour: float
    """Share of the inner voxels with another colour."""
    other_phase: float
    """Share of the inner voxels with a phase off by more than a quarter of a period, or with other stripes."""
    other: float
    """Share of the inner voxels with either."""

    def visible(self, how: Striping) -> bool:
        """Return whether there are stripes at all."""
        return self.inner > 0 and self.amplitude >= how.visible

    def changed(self, how: Striping) -> bool:
        """Return whether colour or stripes change within the object."""
        return self.other > how.least


@shaped
def striped_object(
    image: Annotated[np.ndarray, "channels *space"], mask: Annotated[np.ndarray, "*space"], how: Striping
) -> Striped:
    """Measure the stripes of one object in the box around it; `image` is a share of the full scale.

    Memory is about 60 bytes for each voxel of the box.
    """
    near = how.period / 2
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim] > near
    if not inside.any():
        return Striped(inner=0, amplitude=0.0, colour=0, wave=(), other_colour=0.0, other_phase=0.0, other=0.0)
    weight = mask.astype(np.float32)
    share = np.maximum(ndimage.gaussian_filter(weight, near), 1e-6)
    local = np.stack([ndimage.gaussian_filter(channel * weight, near) for channel in image]) / share
    brightest = local.argmax(0)
    colour = int(np.bincount(brightest[inside], minlength=len(image)).argmax())
    own = brightest == colour
    grey = image.sum(0)
    grey = (grey - grey[mask].mean()) * weight
    wave = _wave(grey * own, how.period)
    for _ in range(ROUNDS):
        phasor = _demodulated(grey, wave, near) / share
        wave = tuple(w + d for w, d in zip(wave, _drift(phasor, inside & own), strict=True))
    phasor, strange = (_demodulated(grey, wave, near) / share)[inside], ~own[inside]
    typical = np.median(np.abs(phasor[~strange]))
    faint = np.abs(phasor) < how.amplitude * typical
    other = faint | ((phasor * np.conj(_common(phasor[~faint & ~strange]))).real < 0)
    return Striped(
        inner=int(inside.sum()),
        amplitude=float(typical),
        colour=colour,
        wave=wave,
        other_colour=float(strange.mean()),
        other_phase=float(other.mean()),
        other=float((strange | other).mean()),
    )


def _wave(grey: np.ndarray, period: float) -> tuple[float, ...]:
    """Return the strongest wave vector, periods per voxel, whose period is within a factor of 1.5 of `period`."""
    shape = [fft.next_fast_len(2 * n, real=False) for n in grey.shape]
    power = np.abs(fft.fftn(grey, shape))
    squares = [np.fft.fftfreq(n) ** 2 for n in shape]
    total: np.ndarray = np.zeros(())
    for square in squares:
        total = total[..., None] + square
    frequency = np.sqrt(total)
    power[(frequency * period < 1 / 1.5) | (frequency * period > 1.5)] = 0
    place = np.unravel_index(int(power.argmax()), power.shape)
    return tuple(float(np.fft.fftfreq(n)[k]) for n, k in zip(shape, place, strict=True))


def _demodulated(grey: np.ndarray, wave: tuple[float, ...], sigma: float) -> np.ndarray:
    """Return the local complex amplitude of a wave: twice the Gaussian mean of the image times its conjugate."""
    total: np.ndarray = np.zeros(())
    for w, n in zip(wave, grey.shape, strict=True):
        total = total[..., None] + w * np.arange(n)
    moved = (2 * grey * np.exp(-2j * np.pi * total)).astype(np.complex64)
    result: np.ndarray = ndimage.gaussian_filter(moved.real, sigma) + 1j * ndimage.gaussian_filter(moved.imag, sigma)
    return result


def _drift(phasor: np.ndarray, inside: np.ndarray) -> tuple[float, ...]:
    """Return the mean advance of the phase, periods per voxel, along each axis within the object."""
    advances = []
    for axis in range(phasor.ndim):
        ahead, behind = ([slice(None)] * phasor.ndim for _ in range(2))
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        last, first = tuple(ahead), tuple(behind)
        both = inside[last] & inside[first]
        turned = (phasor[last] * np.conj(phasor[first]))[both].sum()
        advances.append(float(np.angle(turned)) / (2 * np.pi) if both.any() else 0.0)
    return tuple(advances)


def _common(phasor: np.ndarray) -> complex:
    """Return the phase that most of an object has, a number of modulus 1: that of the fullest 3 of 16 sectors."""
    sector = np.floor(np.angle(phasor) / (2 * np.pi) * 16).astype(int) % 16
    counts = np.bincount(sector, minlength=16)
    full = int((np.roll(counts, -1) + counts + np.roll(counts, 1)).argmax())
    mean = phasor[np.isin(sector, [(full + k) % 16 for k in (-1, 0, 1)])].sum()
    return complex(mean / max(abs(mean), 1e-12))
