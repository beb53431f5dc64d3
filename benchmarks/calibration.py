"""False alarms of the seam tests: 256 x 256 x 256 seamless textures in tiles of 64, three seams per axis.

    python -m benchmarks.calibration                     200 textures, minutes
    python -m benchmarks.calibration --textures 800

Writes benchmarks/results/calibration.json: of each test the share of p below 0.05, of reports the share that cries
`seams`.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.machine import describe, save
from vol2vol.metrics.comb import comb_test
from vol2vol.metrics.grid import Grid
from vol2vol.metrics.seams import TESTS, seam_tests

SHAPE = (256, 256, 256)
GRID = Grid(step=(64, 64, 64))
KINDS = ((0.6, False), (1.5, False), (3.0, False), (1.5, True))
"""Correlation length in voxels, and whether grey values are log-normal."""


def texture(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return stationary periodic noise of one of the kinds, in turn."""
    sigma, skewed = KINDS[number % len(KINDS)]
    values = gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), sigma, mode="wrap")
    values /= values.std()
    return np.exp(values) if skewed else values


def false_alarms(textures: int, seed: int = 0) -> dict[str, float]:
    """Return the share of p below 0.05 of S1 (SGR), S2 (SJE), S3 (HFR) and S5 (comb), and of reports with seams."""
    rng = np.random.default_rng(seed)
    below: dict[str, list[bool]] = {name: [] for name in (*TESTS, "comb", "report", "blind report")}
    for number in range(textures):
        volume = texture(rng, number)
        known, blind = seam_tests(volume, GRID), comb_test(volume)
        for row in known.rows:
            below[row.test].append(row.p < 0.05)
        below["comb"] += [row.p < 0.05 for row in blind.rows]
        below["report"].append(known.verdict == "seams")
        below["blind report"].append(blind.verdict == "seams")
    return {name: float(np.mean(found)) for name, found in below.items()}


def main() -> None:
    """Measure and write the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rates = false_alarms(options.textures, options.seed)
    found = {"machine": describe(), "textures": options.textures, "seed": options.seed, "false alarms": rates}
    print(save("calibration", found), rates)


if __name__ == "__main__":
    main()
