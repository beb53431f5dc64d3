"""Any measure of the list is taken of stored volumes, with what it needs and nothing else."""

import numpy as np
import pytest

from vol2vol.errors import BadInput
from vol2vol.evaluation.compare import evaluate_measure, evaluate_structure
from vol2vol.geometry import Box
from vol2vol.volumes import create_volume, open_volume


def volume(path, shape, seed):
    about = {"shape": (1, *shape), "dtype": np.float32, "voxel_size": (8, 8, 8), "unit": "nanometer"}
    with create_volume(path, **about) as stored:
        stored.write(Box.of(shape), np.random.default_rng(seed).normal(128, 20, (1, *shape)).astype(np.float32))
    return open_volume(path)


def test_a_measure_of_the_list_is_taken_with_what_it_needs(tmp_path):
    source, output = (volume(tmp_path / f"{seed}.zarr", (12, 20, 30), seed) for seed in (0, 1))
    scores = evaluate_measure("structure", output, {"source": source})
    assert scores == evaluate_structure(source, output)
    assert scores.keys() == {"lncc", "gradient_correlation", "nmi"}
    assert evaluate_measure("fidelity", output, {"truth": output})["pearson"]["value"] == pytest.approx(1)
    small = volume(tmp_path / "small.zarr", (12, 20, 29), 2)
    for name, needs, line in (
        ("structur", {}, "'structur' cannot be applied to stored volumes: use one of fidelity, structure"),
        ("cycle", {"source": source}, "'cycle' cannot be applied to stored volumes: use one of"),
        ("structure", {}, "structure needs source: give exactly these"),
        ("structure", {"source": source, "truth": source}, "structure needs source: give exactly these"),
        ("structure", {"source": small}, "compare volumes of one shape"),
    ):
        with pytest.raises(BadInput, match=line):
            evaluate_measure(name, output, needs)
