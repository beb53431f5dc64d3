"""Structure: similarity to the source that does not depend on its appearance."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.similarity.fidelity import to_source


def take(subject: Subject) -> Taken:
    """Compare the volume with its source."""
    return Taken(values=to_source(subject.source, subject.volume, block=subject.block))


STRUCTURE = Measure(
    name="structure",
    about="structure of the source that is kept",
    needs=("source",),
    quantities=(
        Quantity(
            key="lncc",
            sense="higher",
            about="local normalised cross-correlation with the source, -1 to 1",
            title="LNCC, source",
            column="source_lncc",
            places=True,
        ),
        Quantity(
            key="gradient_correlation",
            sense="higher",
            about="correlation of gradients with the source's, -1 to 1",
            column="source_gradients",
        ),
        Quantity(
            key="nmi", sense="higher", about="normalised mutual information with the source, 1 to 2", interval=False
        ),
    ),
    cheap=True,
    table="fidelity",
    take=take,
)
