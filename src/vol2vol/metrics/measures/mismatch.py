"""Dependence of a volume on the position of its tiles, and agreement between tiles of its network."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject


def take(subject: Subject) -> Taken:
    """Predict again with shifted tiles, and compare two tiles of the network at their border.

    `tile` and `largest` describe this volume's stitching; the others describe the network for any tiling.
    """
    agreement = subject.network.agreement()
    mismatch = agreement.mismatch
    mean, largest = subject.network.moved()
    tile = " x ".join(map(str, mismatch.typical))
    values = {
        "border": mismatch.by_distance[0],
        "disparity": mismatch.disparity,
        "invariance": mismatch.invariance,
        "aliasing": mismatch.aliasing,
        "tile": mean,
        "largest": largest,
    }
    sentence = (
        f"{agreement.sentence} Border and disparity were measured on tiles of {tile} at {mismatch.places} places."
    )
    return Taken(values=values, notes={"border": sentence})


MISMATCH = Measure(
    name="mismatch",
    about="disagreement of tiles, in standard deviations of the output",
    needs=("network",),
    quantities=(
        Quantity(
            key="tile",
            sense="lower",
            about="mean change when the tiles are shifted by one period of the network; 0 if their position has no "
            "effect",
            title="S4 (shifted tiles)",
            column="tiles_moved",
            places=True,
        ),
        Quantity(
            key="largest",
            sense="lower",
            about="largest change when the tiles are shifted",
            title="S4, largest",
            column="tiles_moved_largest",
            digits=2,
            places=True,
        ),
        Quantity(
            key="border",
            sense="lower",
            about="difference of two tiles at the border of one of them, for tiles of the training patch's size",
            column="network_border",
        ),
        Quantity(
            key="disparity",
            sense="lower",
            about="difference due to the statistics of training mode, for tiles of the training patch's size",
            column="network_disparity",
        ),
        Quantity(
            key="invariance", sense="lower", about="largest difference of the smallest tiles shifted by one period"
        ),
        Quantity(key="aliasing", sense="lower", about="largest difference of the smallest tiles shifted by one voxel"),
    ),
    table="seams",
    take=take,
)
