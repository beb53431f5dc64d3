"""Compute the seam statistics of the planes of one axis: three numbers per plane and face, arranged by phase.

A *face* is one seam plane within one lateral tile cell and channel. SGR is derived from measures of JPEG blockiness
(Wang, Bovik and Evans 2000), HFR from the loss of variance where predictions are averaged (arXiv:2412.12771).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vol2vol.geometry import Shape
from vol2vol.metrics.seams.phases import Contrast, contrast, control_phases, in_phase, phase_table, usable_periods
from vol2vol.metrics.seams.profiles import Profile

TESTS = ("SGR", "SJE", "HFR")
FEWEST = (4, 2)
"""Minimum number of control planes if they are neighbours, and if they are a period apart."""


@dataclass(frozen=True, kw_only=True)
class PhaseLayout:
    """The positions of the seams of one axis."""

    borders: np.ndarray
    """Planes p such that a seam lies between p - 1 and p."""
    step: int
    overlap: int
    guard: int
    period: int = 1
    """Period of the network's own pattern in planes, counted from the start of a tile."""

    def seam(self, test: str) -> tuple[Shape, int]:
        """Return the planes of a seam in a test, relative to its border, and the guard around them."""
        return ((self.overlap // 2,), self.band_guard) if test == "HFR" else (self.offsets, self.guard)

    def away(self, test: str) -> np.ndarray:
        """Return the phases outside the guard of a seam and, if `halved`, of the plane half a tile from it too."""
        offsets, guard = self.seam(test)
        return control_phases(self.step, guard, self._doubled(offsets) if self.halved(test) else offsets)

    def controls(self, test: str) -> np.ndarray:
        """Return the control phases of a test."""
        return self.away(test) if self.halved(test) else control_phases(self.step, *self.seam(test)[::-1], self.period)

    def halved(self, test: str) -> bool:
        """Return whether the plane half a tile before is subtracted from every plane, to cancel the network's pattern.

        This is so if fewer than two control planes are in phase with the pattern and half a tile is a multiple of its
        period.
        """
        offsets, guard = self.seam(test)
        if self.period == 1 or self.step % (2 * self.period):
            return False
        if control_phases(self.step, guard, offsets, self.period).sum() >= FEWEST[1]:
            return False
        halfway = control_phases(self.step, guard, self._doubled(offsets))
        apart = all(abs((b - a) % self.step - self.step // 2) >= guard for a in offsets for b in offsets)
        return apart and bool(halfway.sum() >= FEWEST[0])

    def lacking(self, test: str) -> str:
        """Return why there are too few control planes; empty if there are enough."""
        number, phased = int(self.controls(test).sum()), self.period > 1 and not self.halved(test)
        if number >= FEWEST[phased]:
            return ""
        phase = f" in phase with the network's period of {self.period}" if phased else ""
        return f"tiles of {self.step} voxels leave {number} control planes{phase}: {FEWEST[phased]} are needed"

    def columns(self, size: int) -> np.ndarray:
        """Return the phase of every plane of an axis; phases start at -step // 2."""
        result: np.ndarray = (np.arange(size) - self.borders[0] + self.step // 2) % self.step
        return result

    def _doubled(self, offsets: Shape) -> Shape:
        return (*offsets, *(offset + self.step // 2 for offset in offsets))

    @property
    def offsets(self) -> Shape:
        """Planes of a seam relative to its border: the start of a tile and the end of the previous one."""
        return tuple(sorted({0, self.overlap % self.step}))

    @property
    def band(self) -> int:
        """Half the thickness of the band that HFR examines for averaging: half the overlap, or half the guard."""
        return max(1, min(self.overlap // 2 or self.guard // 2, self.step // 6))

    @property
    def band_guard(self) -> int:
        """Distance of control bands from the band of the seam, which is larger if the overlap is unknown."""
        return min((2 if self.overlap else 3) * self.band, self.step // 3)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The numbers of one test on one axis; phases run from -step // 2 to step - step // 2 - 1."""

    faces: np.ndarray
    """The statistic of every face, `(periods, faces, step)`."""
    planes: np.ndarray
    """Combined faces of every plane, `(periods, step)`: means of logarithms, or cube roots of means; nearly normal."""
    controls: np.ndarray
    """Control phases."""
    ratios: np.ndarray
    """The numbers of which the statistic is the mean, `(periods, faces)`."""
    profile: np.ndarray
    """T(phi): the statistic if the seams were at phase phi, 1 without seams."""
    logs: bool
    """Whether faces are logarithms of the compared numbers."""
    period: int = 1

    @property
    def contrast(self) -> Contrast:
        """The comparison of seam planes with control planes."""
        columns = in_phase(self.planes.shape[1], self.period)
        return contrast(self.planes[:, columns], self.controls[columns])

    @property
    def statistic(self) -> float:
        """The statistic of the test, 1 without seams."""
        mean = float(np.nanmean(self.ratios))
        return math.exp(mean) if self.logs else mean

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the statistic over planes, which excludes 1 if the Student p is below 1 - level.

        Whole planes differ in brightness and contrast, as sections do, so that their faces are not independent samples.
        The relative error of planes is that of the controls; the upper end is infinite if it exceeds the mean of the
        cube roots.
        """
        reach = self.contrast.reach(level)
        if self.logs:
            return self.statistic * math.exp(-reach), self.statistic * math.exp(reach)
        share = reach / float(np.nanmean(self.planes[:, self.controls]))
        return self.statistic / (1 + share) ** 3, self.statistic / (1 - share) ** 3 if share < 1 else math.inf


def gather_evidence(profile: Profile, channels: slice, layout: PhaseLayout) -> dict[str, Evidence]:
    """Return the evidence of SGR, SJE and HFR for some channels of an axis' profile, if it can be computed.

    * SGR, sharp seams: J(f) = mean |y(p) - y(p - 1)| over a face; t(f) = log J(f) - mean of log J over the controls;
      SGR = exp(mean t). It is above 1 for edges and below 1 for smoothing.
    * SJE, intensity steps: D(f) = mean (r(p) - r(p - 1)) keeps its sign, so that texture averages out, minus its
      prediction from the two planes on either side (linear regression over the controls); SJE = mean D^2 / median over
      control phases of mean D^2, with each face in units of the mean D^2 of its cell.
    * HFR, averaging: e = (y - box3(y))^2 in a band around the seam; HFR = exp(mean contrast of log e).

    If the layout is `halved`, all three are ratios to the same quantity half a tile before.
    """
    level = profile.level[:, channels]
    jump, fine = (_flat(a[:, channels]) for a in (profile.jump, profile.fine))
    with np.errstate(divide="ignore", invalid="ignore"):
        by_test = {
            "SGR": _log_evidence(np.log(jump), layout, "SGR"),
            "SJE": (_halved_energy_evidence if layout.halved("SJE") else _energy_evidence)(level, layout),
            "HFR": _log_evidence(np.log(_bands(fine, layout.band)), layout, "HFR"),
        }
    return {name: evidence for name, evidence in by_test.items() if evidence is not None}


def _flat(means: np.ndarray) -> np.ndarray:
    return means.reshape(len(means), -1)


def _bands(fine: np.ndarray, band: int) -> np.ndarray:
    """Return the means over planes p - band to p + band - 1; NaN if any of them is NaN."""
    result = np.full_like(fine, np.nan)
    if len(fine) >= 2 * band:
        windows = np.lib.stride_tricks.sliding_window_view(fine, 2 * band, axis=0)
        result[band : len(fine) - band + 1] = windows.mean(axis=-1)
    return result


def _log_evidence(logs: np.ndarray, layout: PhaseLayout, test: str) -> Evidence | None:
    """Arrange logarithms by phase; faces with a constant plane (padding, zeros) are left out."""
    controls, period = layout.controls(test), 1 if layout.halved(test) else layout.period
    logs = np.where(np.isfinite(logs), logs, np.nan)
    logs = _less_halfway(logs, layout.step // 2) if layout.halved(test) else logs
    faces = _select(phase_table(logs, layout.borders, layout.step, layout.seam(test)[0]), controls, period)
    if faces is None:
        return None
    planes = _mean(faces, 1)
    profile = _mean(planes, 0)
    return Evidence(
        faces=faces,
        planes=planes,
        controls=controls,
        ratios=faces[..., layout.step // 2] - _mean(faces[..., controls], 2),
        profile=np.exp(profile - np.nanmedian(profile[controls])),
        logs=True,
        period=period,
    )


def _energy_evidence(level: np.ndarray, layout: PhaseLayout) -> Evidence | None:
    """Arrange squared steps by phase; the cube root of a plane's mean is nearly normal (Wilson and Hilferty 1931)."""
    controls = layout.controls("SJE")
    steps = _unpredicted(_flat(np.diff(level, axis=0, prepend=np.nan)), controls[layout.columns(len(level))], layout)
    energy = phase_table(steps**2, layout.borders, layout.step, layout.offsets)
    scale = _mean(_mean(energy, 2), 0)
    scale[~(scale > 1e-14)] = np.nan
    faces = _select(energy / scale[:, None], controls, layout.period)
    if faces is None:
        return None
    means = _mean(faces, 1)
    profile = _mean(means, 0)
    usual = float(np.nanmedian(profile[controls]))
    return Evidence(
        faces=faces,
        planes=np.cbrt(means),
        controls=controls,
        ratios=faces[..., layout.step // 2] / usual,
        profile=profile / usual,
        logs=False,
        period=layout.period,
    )


def _halved_energy_evidence(level: np.ndarray, layout: PhaseLayout) -> Evidence | None:
    """Arrange logarithms of the mean squared steps of whole planes, without the steps and energy of the pattern.

    The mean step over all tiles half a tile away is subtracted from the steps of every plane, per channel.
    """
    columns, half = layout.columns(len(level)), layout.step // 2
    steps = np.diff(level, axis=0, prepend=np.nan)
    steps[:, ~(_mean(steps**2, 0) > 1e-14)] = np.nan
    tones = np.stack([_mean(_mean(_mean(steps[columns == c], 0), 1), 1) for c in range(layout.step)])
    steps = _flat(steps - tones[(columns + half) % layout.step, :, None, None])
    energy = _unpredicted(steps, layout.controls("SJE")[columns], layout) ** 2
    return _log_evidence(np.log(_mean(energy / _mean(energy, 0), 1))[:, None], layout, "SJE")


def _less_halfway(series: np.ndarray, half: int) -> np.ndarray:
    """Return `(n, faces)` numbers minus those `half` planes before, NaN for the first ones.

    Numbers on both sides are not used, because neighbouring seams would share one and not be independent samples.
    """
    result: np.ndarray = series - np.concatenate([np.full_like(series[:half], np.nan), series[:-half]])
    return result


def _select(faces: np.ndarray, controls: np.ndarray, period: int) -> np.ndarray | None:
    """Set incomplete faces to NaN and return the usable periods; None with fewer than two."""
    whole = (np.isfinite(faces) == np.isfinite(faces).any(axis=1, keepdims=True)).all(axis=2)
    faces = np.where(whole[..., None], faces, np.nan)
    keep = usable_periods(_mean(faces, 1), controls)
    return faces[keep] if keep.sum() >= 2 and controls.sum() >= FEWEST[period > 1] else None


def _unpredicted(steps: np.ndarray, controls: np.ndarray, layout: PhaseLayout) -> np.ndarray:
    """Return steps `(n, faces)` minus their linear prediction from the steps up to two planes away on both sides.

    Neighbouring steps of a smooth texture are nearly equal, but those at a seam are not. The prediction is fitted on
    the control planes.
    """
    size, reach = len(steps), min(2, layout.guard - 1)
    if reach < 1 or size <= 2 * reach:
        return steps
    inner = slice(reach, size - reach)
    around = np.stack(
        [steps[reach - k : size - reach - k] + steps[reach + k : size - reach + k] for k in range(1, reach + 1)]
    )
    known = np.isfinite(steps[inner]) & np.isfinite(around).all(axis=0) & controls[inner, None]
    weights = np.linalg.lstsq(around[:, known].T, steps[inner][known], rcond=None)[0]
    result = np.full_like(steps, np.nan)
    result[inner] = steps[inner] - np.tensordot(weights, around, axes=1)
    return result


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of the finite values along an axis, NaN if there are none."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    result: np.ndarray = np.where(known, values, 0.0).sum(axis=axis) / np.where(count > 0, count, np.nan)
    return result
