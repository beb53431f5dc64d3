"""By which values checkpoints may be picked: those of a first look that need no mask or truth of what is tested."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from vol2vol.errors import BadInput
from vol2vol.recipes.trials.settings import Study
from vol2vol.study.seam_table import TESTS

ORACLES = ("segmentation", "near_seam", "objects", "fidelity")
"""Beginnings of names that rest on masks or truths of the test part: to pick by them is to pick by the answer."""
_SEAMS = [f"{test}/{axis}{end}" for test in TESTS for axis in "zyx" for end in ("", "/p", "/source")]
_FIXED: Mapping[str, tuple[str, ...]] = {
    "seams": tuple(_SEAMS),
    "mismatch": ("border", "disparity", "invariance", "aliasing", "tile", "largest"),
    "structure": ("lncc", "gradient_correlation", "nmi"),
    "cycle": ("psnr", "mean_absolute", "hidden"),
    "label_free": ("confidence", "foreground", "agreement"),
    "cost": (
        "train_seconds",
        "train_seconds_per_step",
        "train_peak_memory",
        "parameters",
        "redundancy",
        "flops_per_voxel",
        "voxels_per_second",
        "peak_memory",
        "seconds",
    ),
}
"""Names of values by measure, where settings do not decide them."""


def values_of(study: Study) -> dict[str, list[str]]:
    """Return by measure the names of the values that need neither mask nor truth, as this study would take them."""
    about = study.distance
    kinds = [
        f"distance/{see}/{how}/{plane}" for see in about.features for how in ("fid", "kid") for plane in about.planes
    ]
    ends = ("", "/floor", "/ceiling", "/gap_closed")
    return {
        "distance": [kind + end for kind in kinds for end in ends],
        **{measure: [f"{measure}/{name}" for name in names] for measure, names in _FIXED.items()},
    }


def check_picks(study: Study) -> None:
    """Raise `BadInput`, naming the key, where a pick is by what is not measured, or by the answer."""
    known, first = values_of(study), [*dict.fromkeys(study.first)]
    free = ["checkpoint", *(name for measure in first for name in known.get(measure, ()))]
    for number, pick in enumerate(study.picks):
        where, measure = f"picks.{number}.by: {pick.by}", pick.by.partition("/")[0]
        if measure in ORACLES:
            raise BadInput(
                f"{where} looks at masks or truths of the test part, so it picks by the answer: "
                "pick by label_free/..., distance/..., structure/... or checkpoint"
            )
        if pick.by not in free and pick.by in known.get(measure, ()):
            raise BadInput(f"{where} is not measured at a first look, which takes {', '.join(first)}: add it to first")
        if pick.by not in free:
            near = get_close_matches(pick.by, free, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_examples(free))}, ..."
            raise BadInput(f"{where} is not a value that is measured: {hint}")
        judges = sum(len(one.seeds) for one in study.segmenters.values())
        if measure == "label_free" and study.translators and judges < (need := 1 + pick.by.endswith("/agreement")):
            raise BadInput(f"{where} needs {need} or more segmenters, there are {judges}: add one, or pick by another")


def _examples(names: list[str]) -> list[str]:
    """Return the first name of every measure."""
    return list({name.partition("/")[0]: name for name in reversed(names)}.values())[::-1]
