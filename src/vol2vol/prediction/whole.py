"""Predict outputs of one block, such as small images: compute and write them aside, then move them to their final path.

Such an output needs no ledger: a kill leaves nothing at its final path.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from vol2vol.errors import CannotWrite, Mismatch, UserError
from vol2vol.geometry import Box
from vol2vol.prediction.finishing import complete, create
from vol2vol.prediction.job import Job
from vol2vol.volumes.opening import is_tiff
from vol2vol.volumes.outputs import clear_output
from vol2vol.volumes.pyramid import build_pyramid


def predict_whole(job: Job, output: str, aside: str, *, overwrite: bool) -> int:
    """Compute an output of one block and return its number of voxels; its bytes are those of a prediction by blocks.

    `aside` is a local folder on the disk of the output. Raises `Mismatch` if the input changed while it was read.
    """
    [(box, raw)] = job.predict_row(job.layout.blocks())
    try:
        with TemporaryDirectory(dir=aside) as folder:
            temporary = str(Path(folder, Path(output).name))
            _write(job, temporary, raw)
            if job.source_changed():
                raise Mismatch(f"{job.source.path} was changed while it was read: the same command reads it again")
            if overwrite:
                clear_output(output)
            os.replace(temporary, output)
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise CannotWrite(f"{output} cannot be written ({error.strerror or error}): choose another place") from error
    return box.size


def _write(job: Job, temporary: str, raw: np.ndarray) -> None:
    """Write the volumes of an output and close them: some systems cannot move open files."""
    with ExitStack() as opened:
        volumes = create(job, temporary, overwrite=False)
        for volume, part in volumes:
            opened.enter_context(volume)
            volume.write(Box.of(volume.spatial), part.stored(raw))
            volume.flush()
            if job.settings.pyramid and not is_tiff(temporary):
                build_pyramid(volume.path)
        complete(job, temporary, volumes)
