"""Import models of the public reference code of the stitching paper."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from vol2vol import nets
from vol2vol.intensity import fixed
from vol2vol.locks import writing
from vol2vol.models.bundle import already_made, request_of, save_bundle
from vol2vol.protocol import between
from vol2vol.volumes.addresses import local_path


def import_reference(file: str | Path, out: str | Path, *, dims: Literal[2, 3], overwrite: bool = False) -> Path:
    """Write a model bundle from the state dictionary of a generator (`.pth`) and return its folder.

    A model that the same import has written is kept. Loads tensors only. Wrong shapes, missing and unexpected entries
    raise `BadInput`. The reference code reads value/255 and stores 255 times the raw tanh, which overflows there and is
    clipped here.
    """
    network = nets.load_reference(local_path(file, "a model"), dims)
    with writing(out):
        request = request_of(file=hashlib.sha256(local_path(file, "a model").read_bytes()).hexdigest(), dims=dims)
        if (existing := already_made(out, request, overwrite=overwrite)) is not None:
            return existing
        arguments = network.describe()["arguments"]
        values = fixed(0, 255, network=(0.0, 1.0))
        return save_bundle(
            out,
            between({"forward": network}),
            {"source": values, "target": values},
            channels={"source": arguments["in_channels"], "target": arguments["out_channels"]},
            statistics={"forward": "running averages of the reference code's training"},
            provenance={"imported": Path(file).name, "patch": 190, "request": request},
            overwrite=overwrite,
        )
