"""`vol2vol import FILE.pth OUT --dims 2|3`."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.models.reference_code import import_reference


def run(words: list[str]) -> None:
    """Parse the command line and import."""
    parse.call(_import, words, "import")


def _import(
    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    *,
    dims: Literal[2, 3],
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Import a generator that was trained with the public reference code; no code in the file is executed.

    Args:
        file: a state dictionary, such as latest_net_G_A.pth.
        out: folder of the new model.
        dims: 2 for a 2D network, 3 for a 3D network.
        overwrite: replace a model that exists.
        json: print the result as JSON.
    """
    bundle = import_reference(file, out, dims=dims, overwrite=overwrite)
    show.result({"model": str(bundle), "dims": dims}, as_json=json)
