"""Volume-to-volume translation of microscopy without seams.

The names below are the public interface; each is imported when it is first used, so `import vol2vol` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Box": "vol2vol.geometry",
    "Bundle": "vol2vol.models.bundle",
    "Footprint": "vol2vol.geometry",
    "Intensity": "vol2vol.intensity",
    "Plan": "vol2vol.plans",
    "PredictSettings": "vol2vol.prediction",
    "Preparation": "vol2vol.preparation",
    "Recipe": "vol2vol.recipes",
    "UserError": "vol2vol.errors",
    "Volume": "vol2vol.volumes",
    "adapt_statistics": "vol2vol.recipes",
    "certify": "vol2vol.evaluation.certificate",
    "create_volume": "vol2vol.volumes",
    "fit_baseline": "vol2vol.recipes",
    "footprint": "vol2vol.nets",
    "import_reference": "vol2vol.models.reference_code",
    "load_model": "vol2vol.describe",
    "load_recipe": "vol2vol.recipes",
    "open_volume": "vol2vol.volumes",
    "predict": "vol2vol.prediction",
    "predict_files": "vol2vol.prediction",
    "prepare": "vol2vol.recipes",
    "run_study": "vol2vol.study",
    "train": "vol2vol.recipes",
    "translate": "vol2vol.prediction",
    "translated": "vol2vol.prediction",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'vol2vol' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
