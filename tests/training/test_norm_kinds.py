"""Every kind of norm and of weights trains in a cycleGAN, resumes bit for bit, and says whether it can be stitched."""

import pytest
import torch
from tests.training.runs import Stops, same, state
from tests.training.tiny_run import train

from vol2vol import nets
from vol2vol.evaluation import certify
from vol2vol.models.bundle import load_bundle
from vol2vol.nets.norm import Norm
from vol2vol.tasks import NetworkSettings

torch.set_num_threads(1)
WAYS = [
    ("unet", {"norm": "renorm", "affine": True}),
    ("unet", {"norm": "channel", "weights": "standardised"}),
    ("unet", {"norm": "group", "affine": True}),
    ("resunet", {"weights": "spectral"}),
    ("resunet", {}),
]


def task_of(name, arguments):
    critic = NetworkSettings(name="patchgan", arguments={"width": 4, "n_layers": 1, "weights": "spectral"})
    own = {"levels": 2, "width": 4, **({} if name == "unet" else {"padding": "same"})}
    return {"generator": NetworkSettings(name=name, arguments={**own, **arguments}), "critic": critic}


@pytest.mark.parametrize(("name", "arguments"), WAYS, ids=str)
def test_it_trains_resumes_and_says_whether_it_stitches(name, arguments, tmp_path):
    task = task_of(name, arguments)
    train(tmp_path / "whole", task=task, epochs=2, gradient_checkpointing=True)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "parts", task=task, epochs=2, gradient_checkpointing=True, data=Stops(1))
    train(tmp_path / "parts", task=task, epochs=2, gradient_checkpointing=True)
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))
    network = load_bundle(tmp_path / "whole" / "models" / "epoch-0002").network("forward")
    found = certify(network)
    assert found.stitchable == (arguments.get("norm") != "group"), found.sentence
    assert list(found.tile_dependent) == nets.tile_dependent(network)
    if found.stitchable:
        size = nets.footprint(network).admissible(40, 0, at_least=True)
        x = torch.randn(1, 1, size, size)
        with torch.no_grad():
            torch.testing.assert_close(nets.frozen(network)(x), network(x), atol=1e-5, rtol=0)


def test_statistics_are_of_the_generators_own_domain(tmp_path):
    """Targets are cubes of uniform noise and vary less; the passes of cycle and identity are counted apart."""
    train(tmp_path / "run", task=task_of("unet", {"norm": "renorm"}), epochs=2)
    network = load_bundle(tmp_path / "run" / "models" / "epoch-0002").network("forward")
    first = next(module for module in network.modules() if isinstance(module, Norm))
    assert first.steps.tolist() == [6, 6, 6]
    assert not torch.allclose(first.variance, first.aside_variance[1], rtol=0.05)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_statistics_of_single_patches_are_warned_of_by_the_layers_name(batch_size, tmp_path, caplog):
    train(tmp_path / "run", task=task_of("unet", {"norm": "batch"}), epochs=1, batch_size=batch_size)
    warned = "layer 'decoder.0.norm' of the forward network (norm 'batch') takes statistics of single patches"
    assert (warned in caplog.text) == (batch_size == 1)
