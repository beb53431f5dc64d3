"""Apply a model to a volume of any size: plan the tiling, compute block by block, and continue after a kill."""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages for tensors; read by torch at its first tensor

from vol2vol.plans.layout import Layout
from vol2vol.prediction.engine import predicting
from vol2vol.prediction.estimate import dry_run
from vol2vol.prediction.job import Job
from vol2vol.prediction.layout_cost import Cost
from vol2vol.prediction.lazy import Translated, translate, translated
from vol2vol.prediction.many.dry_run_files import dry_run_files
from vol2vol.prediction.many.predict_files import FilesPrediction, predict_files
from vol2vol.prediction.planner import make_layout
from vol2vol.prediction.request import Request
from vol2vol.prediction.run import Prediction, predict
from vol2vol.prediction.settings import PredictSettings

__all__ = [
    "Cost",
    "FilesPrediction",
    "Job",
    "Layout",
    "PredictSettings",
    "Prediction",
    "Request",
    "Translated",
    "dry_run",
    "dry_run_files",
    "make_layout",
    "predict",
    "predict_files",
    "predicting",
    "translate",
    "translated",
]
