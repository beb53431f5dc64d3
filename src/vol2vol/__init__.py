"""Volume-to-volume translation of microscopy without seams.

The names below are the public interface; each is imported when it is first used, so `import vol2vol` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Box": "vol2vol.geometry",
    "Bundle": "vol2vol.models.bundle",
    "Circles": "vol2vol.phantoms",
    "Colouring": "vol2vol.metrics.objects.colours",
    "Footprint": "vol2vol.geometry",
    "Intensity": "vol2vol.intensity",
    "Plan": "vol2vol.plans",
    "PredictSettings": "vol2vol.prediction",
    "Preparation": "vol2vol.preparation",
    "Recipe": "vol2vol.recipes",
    "Stripes": "vol2vol.phantoms",
    "Striping": "vol2vol.metrics.objects.stripes",
    "UserError": "vol2vol.errors",
    "Volume": "vol2vol.volumes",
    "adapt_statistics": "vol2vol.recipes",
    "certify": "vol2vol.evaluation.certificate",
    "check_all": "vol2vol.volumes.completeness",
    "create_volume": "vol2vol.volumes",
    "dry_run": "vol2vol.prediction",
    "dry_run_files": "vol2vol.prediction",
    "evaluate_circles": "vol2vol.evaluation.circles",
    "evaluate_distance": "vol2vol.evaluation.distance",
    "evaluate_fidelity": "vol2vol.evaluation.compare",
    "evaluate_measure": "vol2vol.evaluation.compare",
    "evaluate_overlap": "vol2vol.evaluation.compare",
    "evaluate_seams": "vol2vol.evaluation.seams",
    "evaluate_stripes": "vol2vol.evaluation.stripes",
    "evaluate_structure": "vol2vol.evaluation.compare",
    "fit_baseline": "vol2vol.recipes",
    "footprint": "vol2vol.nets",
    "import_reference": "vol2vol.models.reference_code",
    "info": "vol2vol.describe",
    "list_preparations": "vol2vol.recipes",
    "list_recipes": "vol2vol.recipes",
    "list_studies": "vol2vol.study",
    "load_model": "vol2vol.describe",
    "load_preparation": "vol2vol.recipes",
    "load_recipe": "vol2vol.recipes",
    "load_study": "vol2vol.study",
    "open_volume": "vol2vol.volumes",
    "plan_study": "vol2vol.study",
    "predict": "vol2vol.prediction",
    "predict_files": "vol2vol.prediction",
    "prepare": "vol2vol.recipes",
    "run_study": "vol2vol.study",
    "train": "vol2vol.recipes",
    "translate": "vol2vol.prediction",
    "translated": "vol2vol.prediction",
    "verify": "vol2vol.prediction.verification",
    "work": "vol2vol.prediction.array_task",
    "write_circles": "vol2vol.phantoms",
    "write_tissue": "vol2vol.phantoms",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'vol2vol' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
