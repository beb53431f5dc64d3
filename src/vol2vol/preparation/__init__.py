"""Prepare volumes for training: crop, resample, binarise, convert and split them in one pass, block by block."""

from vol2vol.preparation.chain import Chain
from vol2vol.preparation.output import Prepared
from vol2vol.preparation.preparing import dry_run, prepare_volume
from vol2vol.preparation.settings import Preparation, Source, Split, parse_split
from vol2vol.preparation.steps import Binarise, Channels, Convert, Crop, Resample, Step

__all__ = [
    "Binarise",
    "Chain",
    "Channels",
    "Convert",
    "Crop",
    "Preparation",
    "Prepared",
    "Resample",
    "Source",
    "Split",
    "Step",
    "dry_run",
    "parse_split",
    "prepare_volume",
]
