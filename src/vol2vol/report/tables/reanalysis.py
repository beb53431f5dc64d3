"""Reanalyse the stitching paper's Tables 1 to 11 together: rank correlations, effects and inconsistencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from vol2vol.report.statistics.ranks import Correlation, rank_correlation
from vol2vol.report.tables.printed import SEGMENTERS, Headline, Printed, printed_headlines, printed_volumes

Key = Callable[[Printed], str]
FACTORS: dict[str, Key] = {
    "stitching": lambda volume: volume.stitching,
    "assembly": lambda volume: volume.assembly,
    "checkpoint": lambda volume: volume.checkpoint,
}


@dataclass(frozen=True, kw_only=True)
class Reanalysis:
    """Results of the reanalysis; `str` formats them as text."""

    all_volumes: dict[str, Correlation]
    """Rank correlation of IoU with FID by segmenter, over 27 volumes. Groups are the nine conditions."""
    usable: dict[str, Correlation]
    """The same over the 18 volumes that are not of a worst checkpoint."""
    middle_beats_best: tuple[int, int]
    """Comparisons of IoU (one per condition and segmenter) that the middle checkpoint by FID wins, and their total."""
    conditions_won: tuple[int, int]
    """The same for the mean over segmenters (one comparison per condition)."""
    p: float
    """Two-sided p of the sign test over conditions; segmenters of one volume are not independent."""
    segmenter_means: dict[str, float]
    effects: dict[str, float]
    """Mean range of IoU over usable volumes for each choice, with the other choices fixed."""
    same_minus_exact: dict[str, tuple[float, float]]
    """IoU of T&S minus Same, smallest and largest over segmenters, by assembly and checkpoint."""
    oddities: list[str]

    def __str__(self) -> str:
        lines = [
            "Spearman's rank correlation of IoU with FID (below 0: FID ranks as IoU does) [95 %, conditions resampled]"
        ]
        for name in SEGMENTERS:
            every, usable = _text(self.all_volumes[name]), _text(self.usable[name])
            lines.append(f"  {name:9} 27 volumes {every}, 18 without the worst {usable}")
        wins, total = self.middle_beats_best
        lines.append(f"The middle checkpoint by FID beats the best in {wins} of {total} comparisons of IoU,")
        wins, total = self.conditions_won
        lines.append(f"  and in {wins} of {total} conditions (sign test p = {self.p:.2f})")
        lines.append("Effect of each choice: mean range of IoU over usable volumes, other choices fixed:")
        lines += [f"  {name:10} {value:.4f}" for name, value in self.effects.items()]
        lines.append("T&S minus Same over the five segmenters:")
        lines += [f"  {name:24} {low:+.4f} .. {high:+.4f}" for name, (low, high) in self.same_minus_exact.items()]
        lines.append("Inconsistencies in the paper:")
        return "\n".join([*lines, *(f"  - {oddity}" for oddity in self.oddities)])


def reanalyse() -> Reanalysis:
    """Compute the reanalysis from the printed tables.

    Intervals resample the nine conditions. They hold for these volumes only: the conditions come from two trainings
    (2D and 3D), and no table shows what another training would give.
    """
    volumes = printed_volumes()
    usable = [volume for volume in volumes if volume.checkpoint != "worst"]
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
        segmenter_means={s: float(np.mean([volume.iou[s] for volume in volumes])) for s in SEGMENTERS},
        effects={
            "segmenter": float(np.mean([np.ptp(list(volume.iou.values())) for volume in usable])),
            **{name: _effect(usable, name) for name in FACTORS},
        },
        same_minus_exact=_stitching(volumes),
        oddities=disagreements(volumes),
    )


def disagreements(volumes: Sequence[Printed]) -> list[str]:
    """Return, in words, numbers of Tables 1 and 2 and statements of the text that Tables 3 to 11 contradict."""
    findings = [text for table in (1, 2) for column in printed_headlines(table) for text in _headline(column, volumes)]
    best = [volume.fid for volume in _at(volumes, "best")]
    findings.append(
        f"section 5.1 puts the best FID of all conditions between 30 and 40: they are {min(best):.2f} to "
        f"{max(best):.2f}, {sum(fid > 40 for fid in best)} of {len(best)} above 40"
    )
    led = [stitching for stitching in ("Valid", "Same") if _highest(volumes, stitching) == "3D"]
    findings.append(
        "section 6.2 calls 3D superior only with artefact-free stitching; in Table 2 it also has the highest peak with "
        + " and ".join(led)
    )
    fid = {(volume.stitching, volume.assembly, volume.checkpoint): volume.fid for volume in volumes}
    findings.append(
        "best, middle and worst are ranked separately for every condition, so that rows of different stitching are "
        f"different checkpoints (2D, middle: FID {fid['T&S', '2D', 'middle']:.2f} with T&S, "
        f"{fid['Valid', '2D', 'middle']:.2f} with Valid)"
    )
    return findings


def _headline(column: Headline, volumes: Sequence[Printed]) -> list[str]:
    """Check a column of Table 1 or 2: its IoU should be the highest of five segmenters, its FID of the same volume."""
    where = f"Table {column.table}, {column.assembly} {column.stitching}"
    same = [v for v in volumes if v.condition == (column.assembly, column.stitching)]
    candidates = [v for v in same if v.checkpoint == "best"] if column.table == 1 else same
    volume, segmenter = max(((v, s) for v in candidates for s in SEGMENTERS), key=lambda pair: pair[0].iou[pair[1]])
    findings = []
    if volume.iou[segmenter] != column.iou:
        findings.append(f"{where}: IoU {column.iou:.4f}, Table {volume.table} has {volume.iou[segmenter]:.4f}")
    elif segmenter != "BCE/IoU":
        findings.append(
            f"{where}: IoU {column.iou:.4f} is that of the {segmenter} segmenter, all other columns are BCE/IoU "
            f"({volume.iou['BCE/IoU']:.4f} here)"
        )
    if volume.fid != column.fid:
        findings.append(f"{where}: FID {column.fid:.2f}, Table {volume.table} has {volume.fid:.2f}")
    return findings


def _highest(volumes: Sequence[Printed], stitching: str) -> str:
    """Return the assembly with which a kind of stitching has its highest IoU."""
    best = max((v for v in volumes if v.stitching == stitching), key=lambda volume: max(volume.iou.values()))
    return best.assembly


def _at(volumes: Sequence[Printed], checkpoint: str) -> list[Printed]:
    return sorted((v for v in volumes if v.checkpoint == checkpoint), key=lambda volume: volume.table)


def _correlations(volumes: Sequence[Printed]) -> dict[str, Correlation]:
    fid, groups = [volume.fid for volume in volumes], [volume.condition for volume in volumes]
    return {name: rank_correlation([volume.iou[name] for volume in volumes], fid, groups) for name in SEGMENTERS}


def _effect(volumes: Sequence[Printed], factor: str) -> float:
    """Return the mean range of IoU along one factor, with the others and the segmenter fixed."""
    others = [key for name, key in FACTORS.items() if name != factor]
    cells: dict[tuple[str, ...], list[float]] = {}
    for volume in volumes:
        for name, value in volume.iou.items():
            cells.setdefault((name, *(key(volume) for key in others)), []).append(value)
    return float(np.mean([np.ptp(values) for values in cells.values()]))


def _stitching(volumes: Sequence[Printed]) -> dict[str, tuple[float, float]]:
    by_name = {volume.name: volume for volume in volumes}
    ranges = {}
    for volume in (v for v in volumes if v.stitching == "T&S"):
        other = by_name[f"{volume.assembly}, Same, {volume.checkpoint}"]
        gains = [volume.iou[name] - other.iou[name] for name in SEGMENTERS]
        ranges[f"{volume.assembly}, {volume.checkpoint}"] = (min(gains), max(gains))
    return ranges


def _text(correlation: Correlation) -> str:
    return f"{correlation.rho:+.2f} [{correlation.low:+.2f}, {correlation.high:+.2f}]"
