"""The picture of seam-phase profiles: one panel per axis, the seam in the middle, nothing where nothing was tested."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vol2vol.report.figures.phase_profile import _centred, seam_profiles


def size(png):
    return Image.open(BytesIO(png)).size


def row(axis, profile, test="SGR"):
    return {"axis": axis, "test": test, "profile": profile}


@pytest.mark.parametrize("step", [1, 8, 9, 32])
def test_the_seam_is_at_phase_0_in_the_middle(step):
    phases, values = _centred([2.0] + [1.0] * (step - 1))
    assert phases == list(range(-(step // 2), step - step // 2))
    assert values[phases.index(0)] == 2.0
    assert sum(value == 2 for value in values) == 1


def test_one_panel_per_tested_axis():
    rows = [row("z", []), row("y", [1.2, 1.0, None, 1.0]), row("x", [1.0] * 8), row("x", [1.0] * 8, "HFR")]
    wide, high = size(seam_profiles(rows))
    assert (wide, high) == (960, round(2 * 2.1 * 150))
    assert size(seam_profiles(rows[:2])) == (960, 315)
    assert np.asarray(Image.open(BytesIO(seam_profiles([row("z", [])]))).convert("L")).std() > 0
