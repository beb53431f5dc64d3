"""What the stitching paper's own Tables 1 to 11 say when they are read together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from vol2vol.report.statistics.ranks import Correlation, rank_correlation
from vol2vol.report.tables.printed import SEGMENTERS, Headline, Printed, printed_headlines, printed_volumes

Key = Callable[[Printed], str]
FACTORS: dict[str, Key] = {
    "stitching": lambda one: one.stitching,
    "assembly": lambda one: one.assembly,
    "checkpoint": lambda one: one.checkpoint,
}


@dataclass(frozen=True, kw_only=True)
class Reanalysis:
    """The findings; `str` prints them."""

    all_volumes: dict[str, Correlation]
    """Of IoU with FID, by segmenter, over 27 volumes. Groups are the nine conditions."""
    usable: dict[str, Correlation]
    """The same over the 18 volumes that are not a worst checkpoint."""
    middle_beats_best: tuple[int, int]
    """Comparisons of IoU, one per condition and segmenter, that the middle checkpoint by FID wins, and all."""
    conditions_won: tuple[int, int]
    """The same by the mean over segmenters, one per condition."""
    p: float
    """Two-sided sign test of the conditions; segmenters that see one volume are not independent."""
    segmenter_means: dict[str, float]
    effects: dict[str, float]
    """Mean over usable volumes of the range of IoU, all other things being equal: what a choice moves."""
    same_minus_exact: dict[str, tuple[float, float]]
    """T&S minus Same, smallest and largest over segmenters, by assembly and checkpoint."""
    oddities: list[str]

    def __str__(self) -> str:
        lines = [
            "Spearman's rank correlation of IoU with FID (below 0: FID ranks as IoU does) [95 %, conditions resampled]"
        ]
        for name in SEGMENTERS:
            every, usable = _told(self.all_volumes[name]), _told(self.usable[name])
            lines.append(f"  {name:9} 27 volumes {every}, 18 without the worst {usable}")
        wins, of = self.middle_beats_best
        lines.append(f"The middle checkpoint by FID beats the best in {wins} of {of} comparisons of IoU,")
        wins, of = self.conditions_won
        lines.append(f"  and in {wins} of {of} conditions (sign test p = {self.p:.2f})")
        lines.append("What a choice moves, mean range of IoU over usable volumes, all else equal:")
        lines += [f"  {name:10} {value:.4f}" for name, value in self.effects.items()]
        lines.append("T&S minus Same over the five segmenters:")
        lines += [f"  {name:24} {low:+.4f} .. {high:+.4f}" for name, (low, high) in self.same_minus_exact.items()]
        lines.append("What does not agree:")
        return "\n".join([*lines, *(f"  - {one}" for one in self.oddities)])


def reanalyse() -> Reanalysis:
    """Compute everything from the printed tables.

    Intervals resample the nine conditions. They speak of these volumes alone: the nine come from two trainings (2D
    and 3D), and no table tells what another training would have given.
    """
    volumes = printed_volumes()
    usable = [one for one in volumes if one.checkpoint != "worst"]
    gains = np.array(
        [
            [b.iou[s] - a.iou[s] for s in SEGMENTERS]
            for a, b in zip(_at(volumes, "best"), _at(volumes, "middle"), strict=True)
        ]
    )
    won = int((gains.mean(1) > 0).sum())
    return Reanalysis(
        all_volumes=_correlations(volumes),
        usable=_correlations(usable),
        middle_beats_best=(int((gains > 0).sum()), gains.size),
        conditions_won=(won, len(gains)),
        p=float(binomtest(won, len(gains)).pvalue),
        segmenter_means={s: float(np.mean([one.iou[s] for one in volumes])) for s in SEGMENTERS},
        effects={
            "segmenter": float(np.mean([np.ptp(list(one.iou.values())) for one in usable])),
            **{name: _effect(usable, name) for name in FACTORS},
        },
        same_minus_exact=_stitching(volumes),
        oddities=disagreements(volumes),
    )


def disagreements(volumes: Sequence[Printed]) -> list[str]:
    """Name the numbers of Tables 1 and 2, and statements in words, that Tables 3 to 11 do not bear out."""
    found = [text for table in (1, 2) for one in printed_headlines(table) for text in _headline(one, volumes)]
    best = [one.fid for one in _at(volumes, "best")]
    found.append(
        f"section 5.1 puts the best FID of all conditions between 30 and 40: they are {min(best):.2f} to "
        f"{max(best):.2f}, {sum(fid > 40 for fid in best)} of {len(best)} above 40"
    )
    led = [one for one in ("Valid", "Same") if _highest(volumes, one) == "3D"]
    found.append(
        "section 6.2 calls 3D superior only with artefact-free stitching: by Table 2 it also peaks highest with "
        + " and ".join(led)
    )
    fid = {(one.stitching, one.assembly, one.checkpoint): one.fid for one in volumes}
    found.append(
        "best, middle and worst are ranked for every condition by itself, so that rows of different stitching are "
        f"different checkpoints (2D, middle: FID {fid['T&S', '2D', 'middle']:.2f} with T&S, "
        f"{fid['Valid', '2D', 'middle']:.2f} with Valid)"
    )
    return found


def _headline(one: Headline, volumes: Sequence[Printed]) -> list[str]:
    """Check a column of Table 1 or 2: the IoU is the highest of five segmenters, the FID that of the same volume."""
    where = f"Table {one.table}, {one.assembly} {one.stitching}"
    same = [v for v in volumes if v.condition == (one.assembly, one.stitching)]
    wanted = [v for v in same if v.checkpoint == "best"] if one.table == 1 else same
    volume, segmenter = max(((v, s) for v in wanted for s in SEGMENTERS), key=lambda pair: pair[0].iou[pair[1]])
    found = []
    if volume.iou[segmenter] != one.iou:
        found.append(f"{where}: IoU {one.iou:.4f}, Table {volume.table} has {volume.iou[segmenter]:.4f}")
    elif segmenter != "BCE/IoU":
        found.append(
            f"{where}: IoU {one.iou:.4f} is that of the {segmenter} segmenter, all other columns are BCE/IoU "
            f"({volume.iou['BCE/IoU']:.4f} here)"
        )
    if volume.fid != one.fid:
        found.append(f"{where}: FID {one.fid:.2f}, Table {volume.table} has {volume.fid:.2f}")
    return found


def _highest(volumes: Sequence[Printed], stitching: str) -> str:
    """Return the assembly in which one way of stitching comes to its highest IoU."""
    best = max((one for one in volumes if one.stitching == stitching), key=lambda one: max(one.iou.values()))
    return best.assembly


def _at(volumes: Sequence[Printed], checkpoint: str) -> list[Printed]:
    return sorted((one for one in volumes if one.checkpoint == checkpoint), key=lambda one: one.table)


def _correlations(volumes: Sequence[Printed]) -> dict[str, Correlation]:
    fid, groups = [one.fid for one in volumes], [one.condition for one in volumes]
    return {name: rank_correlation([one.iou[name] for one in volumes], fid, groups) for name in SEGMENTERS}


def _effect(volumes: Sequence[Printed], factor: str) -> float:
    """Return the mean range of IoU along one factor, the others and the segmenter held."""
    others = [key for name, key in FACTORS.items() if name != factor]
    cells: dict[tuple[str, ...], list[float]] = {}
    for one in volumes:
        for name, value in one.iou.items():
            cells.setdefault((name, *(key(one) for key in others)), []).append(value)
    return float(np.mean([np.ptp(values) for values in cells.values()]))


def _stitching(volumes: Sequence[Printed]) -> dict[str, tuple[float, float]]:
    by_name = {one.name: one for one in volumes}
    found = {}
    for one in (v for v in volumes if v.stitching == "T&S"):
        other = by_name[f"{one.assembly}, Same, {one.checkpoint}"]
        gains = [one.iou[name] - other.iou[name] for name in SEGMENTERS]
        found[f"{one.assembly}, {one.checkpoint}"] = (min(gains), max(gains))
    return found


def _told(one: Correlation) -> str:
    return f"{one.rho:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
