"""Figures 3 and 4 of a study: segmentations of translations, compared across strategies and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion

from vol2vol.geometry import Box
from vol2vol.report.figures import pictures, planes, residuals, style
from vol2vol.report.figures.panels import Range, Sheet, Shown, draw, grey_range, svg
from vol2vol.report.figures.pictures import LETTERS, Cuts
from vol2vol.report.figures.planes import Plane
from vol2vol.report.figures.translations import groups_of, part, visible
from vol2vol.report.rows import wording
from vol2vol.report.rows.checkpoint_roles import ROLES
from vol2vol.report.rows.conditions import IDENTITY, SPECTRUM, condition, reference
from vol2vol.report.rows.rows import Row
from vol2vol.volumes import open_volume
from vol2vol.volumes.masks import foreground

HIT, WRONG, MISSED = (255, 255, 255), (230, 0, 200), (40, 90, 255)
EDGE = (255, 210, 0)
WIDE = 6
"""Images in a row of Fig. 4: an image and a mask of three checkpoints."""
PROBABILITY = Range(low=0.0, high=1.0, unit="probability", colours="viridis")


@dataclass(frozen=True, kw_only=True)
class SegmentedPlane:
    """One plane of a segmentation."""

    row: Row
    judge: str
    """`segmenter/seed`."""
    probability: Plane
    truth: np.ndarray | None

    @property
    def mask(self) -> np.ndarray:
        """Foreground at the segmenter's threshold."""
        threshold = self.row.number(f"segmentation/{self.judge}/threshold")
        return self.probability.pixels >= (0.5 if threshold is None else threshold)

    @property
    def iou(self) -> float | None:
        """IoU of the whole volume."""
        return self.row.number(f"segmentation/{self.judge}/iou")


def errors(mask: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Return colours: white for correct foreground, magenta for false foreground, blue for missed foreground."""
    shown = np.zeros((*mask.shape, 3), np.uint8)
    truth = mask if truth is None else truth
    for where, colour in ((mask & truth, HIT), (mask & ~truth, WRONG), (~mask & truth, MISSED)):
        shown[where] = colour
    return shown


def outlined(pixels: np.ndarray, mask: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return a grey plane in RGB with the outline of a mask."""
    low, high = limits
    grey = np.clip((pixels.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1) * 255
    shown = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    shown[mask & ~binary_erosion(mask)] = EDGE
    return shown


def read_plane(folder: Path, row: Row, judge: str, view: str, box: Box) -> SegmentedPlane | None:
    """Read one plane of a row's segmentation; None if the segmentation no longer exists."""
    path = row.segmentations.get(judge, "")
    if not path or not (folder / path).exists():
        return None
    plane = planes.cut(open_volume(folder / path), view, box)
    scale = float(np.iinfo(plane.pixels.dtype).max) if plane.pixels.dtype.kind == "u" else 1.0
    mask = part(folder, row.source, "test-mask")
    truth = planes.cut(open_volume(folder / mask), view, box).pixels if mask else None
    seen = None if truth is None else foreground(truth, mask)
    scaled = replace(plane, pixels=plane.pixels.astype(np.float32) / scale)
    return SegmentedPlane(row=row, judge=judge, probability=scaled, truth=seen)


def first_judge(rows: Sequence[Row]) -> str:
    """Return the segmenter and seed to show: the first that segmented most volumes."""
    counts: dict[str, int] = {}
    for row in rows:
        for name in row.segmentations:
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name]) if counts else ""


def strategies_sheets(folder: Path, rows: Sequence[Row]) -> list[Sheet]:
    """Show probabilities, masks, outlines and residuals of each strategy, and a border magnified (Fig. 3).

    `rows` belong to one direction and have one checkpoint per training.
    """
    networks = [row for row in visible(folder, rows) if row.kind == "network"]
    judge = first_judge(networks)
    by_volume = {row.volume: row for row in networks}
    for group in groups_of(folder, rows):
        cuts = pictures.cuts(folder, group, "xy") if len(group.results) > 1 else None
        if cuts is None:
            continue
        box = cuts.planes[0].box
        found = [read_plane(folder, by_volume[output.output], judge, "xy", box) for output in cuts.shown]
        seen = [plane for plane in found if plane is not None]
        if len(seen) == len(found):
            title = f"{condition(rows[0]).direction}, {group.name}, {judge}"
            close = _close(cuts, seen)
            sheets = [replace(_whole(cuts, seen), title=title)]
            return [*sheets, replace(close, title=f"{title}, a border magnified")] if close else sheets
    return []


def _whole(cuts: Cuts, seen: Sequence[SegmentedPlane]) -> Sheet:
    grey = grey_range(cuts.planes)
    heat = Range(low=0.0, high=_top(seen), unit="difference of probability", colours="magma")
    rows: list[list[Shown]] = [[], [], [], [], []]
    first = seen[0]
    for index, segmented in enumerate(seen):
        letter, name = LETTERS[index], segmented.row.strategy
        lines = style.Borders(rows=cuts.borders[index][0], columns=cuts.borders[index][1], length=0.07)
        plane, mask = segmented.probability, segmented.mask
        images = {
            "probability": plane.pixels,
            "mask": errors(mask, segmented.truth),
            "outline": outlined(cuts.planes[index].pixels, mask, grey.limits),
        }
        for row, (what, pixels) in zip(rows, images.items(), strict=False):
            caption = f"{_iou_text(segmented.iou)} of the volume" if what == "mask" else ""
            shown = replace(plane, pixels=pixels)
            row.append(draw(shown, f"{letter}: {name}, {what}", what, PROBABILITY, borders=lines, caption=caption))
        if index:
            apart = np.abs(plane.pixels - first.probability.pixels)
            turned = (mask != first.mask).astype(np.float32)
            for row, pixels, what in ((rows[3], apart, "probability"), (rows[4], turned, "mask")):
                title = f"|A \N{MINUS SIGN} {letter}|, {what}"
                caption = f"mean {pixels.mean():.4f}"
                shown = replace(plane, pixels=pixels)
                row.append(
                    draw(
                        shown,
                        title,
                        f"Residual, {what}",
                        heat if row is rows[3] else BINARY,
                        borders=lines,
                        caption=caption,
                    )
                )
    rows[3].insert(0, _truth(first))
    rows[4].insert(0, _profile(cuts, seen))
    return Sheet(title="", rows=rows, ranges=[PROBABILITY, heat])


def _truth(seen: SegmentedPlane) -> Shown:
    title, mask = ("mask of A", seen.mask) if seen.truth is None else ("truth", seen.truth)
    return draw(replace(seen.probability, pixels=errors(mask, None)), title, title, PROBABILITY)


BINARY = Range(low=0.0, high=1.0, unit="mask", colours="magma")


def _top(seen: Sequence[SegmentedPlane]) -> float:
    apart = [np.abs(other.probability.pixels - seen[0].probability.pixels).ravel() for other in seen[1:]]
    return max(float(np.percentile(np.concatenate(apart), 99.5)), 0.01)


def _profile(cuts: Cuts, seen: Sequence[SegmentedPlane]) -> Shown:
    offsets = np.arange(-16, 17)
    first = seen[0].probability.pixels
    lines = {
        segmented.row.strategy: (offsets, residuals.border_profile(segmented.probability.pixels, first, *at))
        for segmented, at in list(zip(seen, cuts.borders, strict=True))[1:]
    }
    data = style.plot(
        lines,
        x="distance from the tile border (voxels)",
        y="difference of probability",
        mark_zero=True,
        size=(3.1, 3.1),
        lettering=9,
    )
    return Shown(
        source=svg(data),
        title="difference near borders",
        alt="Difference of probability against the distance from tile borders",
    )


def _close(cuts: Cuts, seen: Sequence[SegmentedPlane]) -> Sheet | None:
    """Magnify the border at which probabilities differ most; None if no border crosses the plane."""
    at = cuts.borders[cuts.seamed]
    first = seen[0].probability.pixels
    where = residuals.worst_border(seen[cuts.seamed].probability.pixels, first, *at)
    if where is None:
        return None
    box = planes.window((1, *first.shape), "xy", (0, *where), pictures.ZOOM)
    inside = box.slices[1:]
    crops = [replace(plane, pixels=plane.pixels[inside]) for plane in cuts.planes]
    grey = grey_range(crops)
    lines = pictures.marks(at, box)
    rows: list[list[Shown]] = [[], []]
    for segmented, crop in zip(seen, crops, strict=True):
        name = segmented.row.strategy
        probability = replace(crop, pixels=segmented.probability.pixels[inside])
        outline = replace(crop, pixels=outlined(crop.pixels, segmented.mask[inside], grey.limits))
        rows[0].append(draw(probability, f"{name}, probability", "Magnified probability", PROBABILITY, borders=lines))
        rows[1].append(draw(outline, f"{name}, outline", "Magnified outline", grey, borders=lines))
    return Sheet(title="", rows=rows, ranges=[PROBABILITY])


def checkpoint_sheets(folder: Path, rows: Sequence[Row], roles: dict[str, str], fid: str) -> list[Sheet]:
    """Show bounds and baselines, then the best, middle and worst checkpoint of every translator and assembly (Fig. 4).

    `rows` belong to one direction.
    """
    there = visible(folder, rows)
    judge = first_judge([row for row in there if row.kind != "bound"])
    if not judge:
        return []
    spatial = open_volume(folder / there[0].volume).spatial
    box = planes.window(spatial, "xy", planes.middle(spatial))
    ends = [row for row in there if row.kind == "bound" or row.translator in (IDENTITY, SPECTRUM)]
    sheets = [_bounds(folder, ends, judge, box, fid)]
    networks = [row for row in there if row.kind == "network" and roles.get(row.trial)]
    for key in dict.fromkeys((row.translator, row.assembly) for row in networks):
        family = [row for row in networks if (row.translator, row.assembly) == key]
        first = reference(row.strategy for row in family)
        chosen = {roles[row.trial]: row for row in family if row.strategy == first}
        row_of: list[Shown] = []
        for role in ROLES:
            if role in chosen:
                row_of += _pair(folder, chosen[role], f"{role}, epoch {chosen[role].checkpoint}", judge, box, fid=fid)
        title = f"{condition(family[0]).direction}, {key[0]} ({first}, {key[1]}), {judge}"
        sheets.append(Sheet(title=title, rows=[row_of], least=WIDE))
    return [sheet for sheet in sheets if sheet.rows and sheet.rows[0]]


def _iou_text(iou: float | None) -> str:
    return "IoU unknown" if iou is None else f"IoU {iou:.3f}"


def _bounds(folder: Path, rows: Sequence[Row], judge: str, box: Box, fid: str) -> Sheet:
    shown: list[Shown] = []
    for row in rows:
        own = judge if row.kind != "bound" or judge in row.segmentations else next(iter(row.segmentations), "")
        pair = _pair(folder, row, condition(row).name, own, box, fid=fid)
        shown += pair[1:] if row.kind == "bound" and len(rows) > 1 else pair
    return Sheet(title=f"{condition(rows[0]).direction}, {judge}" if rows else "", rows=[shown], least=WIDE)


def _pair(folder: Path, row: Row, name: str, judge: str, box: Box, *, fid: str) -> list[Shown]:
    """Draw the image with its FID, and the segmentation with its IoU; [] if it was not segmented."""
    seen = read_plane(folder, row, judge, "xy", box)
    if seen is None:
        return []
    plane = planes.cut(open_volume(folder / row.volume), "xy", box)
    caption = f"FID {wording.number(row.number(fid))}" if row.number(fid) is not None else ""
    mask = replace(plane, pixels=errors(seen.mask, seen.truth))
    return [
        draw(plane, name, f"{name}, image", grey_range([plane]), caption=caption),
        draw(
            mask,
            "in-domain: mask" if row.kind == "bound" else "mask",
            f"{name}, segmentation",
            PROBABILITY,
            caption=_iou_text(seen.iou),
        ),
    ]
