"""False alarms of the seam tests: 256 x 256 x 256 seamless textures in tiles of 64, three seams per axis.

    python -m benchmarks.calibration                     200 textures, minutes
    python -m benchmarks.calibration --textures 800
    python -m benchmarks.calibration --sections 0.1      planes that differ as a whole in brightness and contrast

Writes benchmarks/results/calibration.json, or calibration-sections.json: of each test the share of p below 0.05 and
further out, of reports the share that cries `seams`.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.machine import describe, save
from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.known_grid import TESTS, seam_tests
from vol2vol.metrics.seams.unknown_grid import comb_test

SHAPE = (256, 256, 256)
GRID = Grid(step=(64, 64, 64))
KINDS = ((0.6, False), (1.5, False), (3.0, False), (1.5, True))
"""Correlation length in voxels, and whether grey values are log-normal."""
LEVELS = (0.05, 0.01, 0.005)
"""The last is about what the smallest of nine p must be below for a report to cry."""


def texture(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return stationary periodic noise of one of the kinds, in turn."""
    sigma, skewed = KINDS[number % len(KINDS)]
    values = gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), sigma, mode="wrap")
    values /= values.std()
    return np.exp(values) if skewed else values


def sectioned(rng: np.random.Generator, volume: np.ndarray, share: float) -> np.ndarray:
    """Return a volume whose planes differ as a whole along every axis, as sections do.

    Contrast is multiplied by exp(share N), brightness moved by share N deviations, N one standard normal number each.
    """
    deviation = volume.std()
    for axis, size in enumerate(volume.shape):
        across = [size if a == axis else 1 for a in range(3)]
        gain, shift = (share * rng.standard_normal((2, *across))).astype(np.float32)
        volume = volume * np.exp(gain) + shift * deviation
    return volume


def false_alarms(textures: int, seed: int = 0, sections: float = 0.0) -> dict[str, float]:
    """Return the share of p below 0.05 of S1 (SGR), S2 (SJE), S3 (HFR) and S5 (comb), and of reports with seams.

    Also of p below 0.01 and 0.005, as `SGR below 0.01`. With `sections` planes differ as a whole.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in (*TESTS, "comb")}
    cried: dict[str, list[bool]] = {"report": [], "blind report": []}
    for number in range(textures):
        volume = texture(rng, number)
        volume = sectioned(rng, volume, sections) if sections else volume
        known, blind = seam_tests(volume, GRID), comb_test(volume)
        for row in known.rows:
            found[row.test].append(row.p)
        found["comb"] += [row.p for row in blind.rows]
        cried["report"].append(known.verdict == "seams")
        cried["blind report"].append(blind.verdict == "seams")
    first, *further = LEVELS
    rates = {name: float(np.mean(np.array(p) < first)) for name, p in found.items()}
    rates |= {name: float(np.mean(seams)) for name, seams in cried.items()}
    tails = {f"{name} below {x}": float(np.mean(np.array(p) < x)) for name, p in found.items() for x in further}
    return rates | tails


def main() -> None:
    """Measure and write the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sections", type=float, default=0.0)
    options = parser.parse_args()
    rates = false_alarms(options.textures, options.seed, options.sections)
    found = {"machine": describe(), **vars(options), "false alarms": rates}
    print(save("calibration-sections" if options.sections else "calibration", found), rates)


if __name__ == "__main__":
    main()
