"""Read the tables of the stitching paper as it prints them (arXiv:2606.20095v1, CC BY 4.0)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

SEGMENTERS = ("Dice/IoU", "MSE/IoU", "BCE/IoU", "Dice/MSE", "MSE/Dice")
"""Loss / metric by which the checkpoint was chosen: the columns of Tables 3 to 11."""
UNTRANSLATED = 56.60
"""FID between rat and human without translation (section 5.1)."""
STITCHING = {"exact": "T&S", "printed": "T&S", "disjoint": "Valid", "average": "Same"}
"""Strategies in the terms of the paper; its T&S is `printed` here, and `exact` in the right phase."""
ASSEMBLIES = {"volume": "3D", "slices": "2D", "ortho": "2D (orthoslice)"}


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One volume of Tables 3 to 11."""

    table: int
    assembly: str
    stitching: str
    checkpoint: str
    """Rank by FID: best, middle or worst."""
    iou: dict[str, float]
    """IoU by segmenter."""
    fid: float

    @property
    def condition(self) -> tuple[str, str]:
        """Assembly and stitching: one of nine conditions, each with its own table."""
        return self.assembly, self.stitching

    @property
    def name(self) -> str:
        """Title of the volume."""
        return f"{self.assembly}, {self.stitching}, {self.checkpoint}"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One column of Table 1 (best by FID) or Table 2 (best by IoU)."""

    table: int
    assembly: str
    stitching: str
    iou: float
    fid: float


def printed_volumes() -> list[Printed]:
    """Return the 27 volumes of Tables 3 to 11."""
    return [
        Printed(
            table=int(row["table"]),
            assembly=row["assembly"],
            stitching=row["stitching"],
            checkpoint=row["checkpoint"],
            iou={name: float(row[name]) for name in SEGMENTERS},
            fid=float(row["FID"]),
        )
        for row in _read("tables-3-11.csv")
    ]


def printed_headlines(table: int) -> list[Headline]:
    """Return the nine columns of Table 1 or 2."""
    return [
        Headline(
            table=table,
            assembly=row["assembly"],
            stitching=row["stitching"],
            iou=float(row["IoU"]),
            fid=float(row["FID"]),
        )
        for row in _read(f"table-{table}.csv")
    ]


def _read(name: str) -> list[dict[str, str]]:
    text = (files(__name__) / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
