"""Whether a volume depends on where its tiles lie, and how far tiles of its network agree."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject


def take(subject: Subject) -> Taken:
    """Predict again with the tiles elsewhere, and ask the network what two tiles make of the voxels at their border.

    `tile` and `largest` are of this volume's stitching, the others of the network, wherever it is cut.
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
    sentence = f"{agreement.sentence} Border and disparity: tiles of {tile}, {mismatch.places} places."
    return Taken(values=values, notes={"border": sentence})


MISMATCH = Measure(
    name="mismatch",
    about="how much tiles disagree, in standard deviations of the output",
    needs=("network",),
    quantities=(
        Quantity(
            key="tile",
            sense="lower",
            about="mean change when the tiles are moved by one period of the network; 0: they do not matter",
            title="S4 (tiles moved)",
            column="tiles_moved",
            places=True,
        ),
        Quantity(
            key="largest",
            sense="lower",
            about="largest change when the tiles are moved",
            title="S4, largest",
            column="tiles_moved_largest",
            digits=2,
            places=True,
        ),
        Quantity(
            key="border",
            sense="lower",
            about="difference of two tiles on the voxels at the border of one, tiles of the training patch's size",
            column="network_border",
        ),
        Quantity(
            key="disparity",
            sense="lower",
            about="difference that the statistics of training mode make, tiles of the training patch's size",
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
