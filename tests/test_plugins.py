"""What other packages offer: found by name without an import, imported once, and named with its package if broken."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity
from vol2vol.losses import PAIRED, paired
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.plugins import Catalogue
from vol2vol.protocol import between
from vol2vol.tasks import packages
from vol2vol.tasks.regress import RegressSettings

NETWORK = """
from torch import nn

class Add(nn.Module):
    def __init__(self, dims, *, in_channels=1, out_channels=1, width=2, called="add"):
        super().__init__()
        self.dims, self.in_channels, self.width, self.called = dims, in_channels, width, called
        self.layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(in_channels, out_channels, width)

    def describe(self):
        arguments = {"dims": self.dims, "in_channels": self.in_channels, "width": self.width}
        return {"name": self.called, "arguments": arguments}

    def forward(self, x):
        return self.layer(x)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs a package of one module, with entry points, until the test ends."""

    def install(package, group, code="", **entries):
        site, module = tmp_path / f"site-{package}", package.replace("-", "_")
        about = site / f"{module}-1.2.dist-info"
        about.mkdir(parents=True)
        (site / f"{module}.py").write_text(code)
        lines = [f"{name} = {module}:{thing}" for name, thing in entries.items()]
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(site)
        _forget()

    yield install
    _forget()


def _forget():
    """Let the catalogues read again what is installed."""
    for each in (nets.CATALOGUE, PAIRED):
        vars(each).pop("_outside", None)
        each._loaded.clear()


def catalogue(own=(), **more):
    return Catalogue("toy", "vol2vol.toys", dict.fromkeys(own, "ours"), **more)


def message(act):
    with pytest.raises(BadInput) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_are_listed_without_an_import_and_things_imported_once(install, tmp_path):
    code = f"with open({str(tmp_path / 'imports')!r}, 'a') as file: file.write('x')\nclass Doll: pass\n"
    install("shop", "vol2vol.toys", code, doll="Doll", bear="Doll")
    toys = catalogue(["ball"])
    assert list(toys) == ["ball", "bear", "doll"]
    assert len(toys) == 3
    assert "doll" in toys
    assert "car" not in toys
    assert toys["ball"] == "ours"
    assert not (tmp_path / "imports").exists()
    assert toys["doll"].__name__ == "Doll"
    assert toys["doll"] is toys["bear"]
    assert (tmp_path / "imports").read_text() == "x"
    assert toys.origins(toys) == {name: {"package": "shop", "version": "1.2"} for name in ("bear", "doll")}
    with pytest.raises(KeyError):
        toys["car"]


@pytest.mark.parametrize(
    "code",
    ["import no_such_module", "def broken(:", "raise RuntimeError('two\\nlines')", "raise SystemExit(3)", "Ball = 1"],
)
def test_what_cannot_be_loaded_names_its_package_and_harms_nothing_else(code, install):
    install("shop", "vol2vol.toys", code, doll="Doll")
    install("good-shop", "vol2vol.toys", "Bear = 7", bear="Bear")
    toys = catalogue(["ball"])
    text = message(lambda: toys["doll"])
    assert text.startswith("the toy 'doll' of the package shop 1.2 cannot be loaded (")
    assert text.endswith("): update or uninstall shop")
    assert (toys["ball"], toys["bear"]) == ("ours", 7)
    assert message(lambda: list(toys.values())) == text


def test_what_is_not_what_it_should_be_names_its_package(install):
    install("shop", "vol2vol.toys", "Doll = 1\nBear = 2", doll="Doll", bear="Bear")
    toys = catalogue(check=lambda name, thing: f"{name} is {thing}" if thing == 1 else "")
    assert toys["bear"] == 2
    expected = "the toy 'doll' of the package shop 1.2 cannot be used (doll is 1): update or uninstall shop"
    assert message(lambda: toys["doll"]) == expected


def test_a_name_that_two_packages_offer_is_refused_naming_both(install):
    install("shop", "vol2vol.toys", "Doll = 1", doll="Doll", ball="Doll", car="Doll")
    install("attic", "vol2vol.toys", "Doll = 1", doll="Doll")
    toys = catalogue(["ball"])
    expected = "the toy 'doll' is offered by attic 1.2 and by shop 1.2: uninstall one of them"
    assert message(lambda: toys["doll"]) == expected
    assert message(lambda: toys["ball"]) == "the toy 'ball' is offered by vol2vol and by shop 1.2: uninstall shop"
    assert toys["car"] == 1


def test_a_network_of_another_package_is_kept_in_a_model_that_names_the_package(install, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        install("nets-of-others", "vol2vol.networks", NETWORK, add="Add")
        network = nets.build("add", dims=2, width=3)
        grey = dict.fromkeys(("source", "target"), Intensity(low=(0.0,), high=(255.0,)))
        model = save_bundle(tmp_path / "m", between({"forward": network}), grey, channels=dict.fromkeys(grey, 1))
        loaded = load_bundle(model)
        x = torch.randn(1, 1, 9, 9)
        assert torch.equal(loaded.network("forward")(x), network(x))
        assert loaded.meta["provenance"]["packages"] == {
            "networks": {"add": {"package": "nets-of-others", "version": "1.2"}}
        }
        assert message(lambda: nets.build("add", dims=2, depth=1)).startswith("network 'add' has no argument 'depth'")
        assert "package nets-of-others 1.2 cannot be built" in message(lambda: nets.build("add", dims=2, width="a"))
        assert "does not describe itself" in message(lambda: nets.build("add", dims=2, called="another"))
        sys.path.remove(str(tmp_path / "site-nets-of-others"))
        _forget()
        text = message(lambda: load_bundle(model))
    why = "comes from the package nets-of-others 1.2, which is not installed: install it, if you trust it"
    assert text == f"{model / 'model.yaml'}: the network 'add' {why}"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def Add(dims): pass", "it is not a subclass of torch.nn.Module"),
        ("from torch.nn import ReLU as Add", "it has no argument dims"),
        (
            "from torch import nn\nclass Add(nn.Module):\n    def __init__(self, dims): pass",
            "it has no method describe",
        ),
    ],
)
def test_what_is_not_a_network_names_its_package(code, why, install):
    install("nets-of-others", "vol2vol.networks", code, add="Add")
    text = f"the network 'add' of the package nets-of-others 1.2 cannot be used ({why}): update or uninstall"
    assert message(lambda: nets.build("add", dims=2)).startswith(text)
    assert nets.build("pixel", dims=2).dims == 2


@pytest.mark.parametrize("name", ["os:system", "antigravity", "torch.nn:ReLU", "vol2vol.nets.unet:UNet"])
def test_a_model_imports_nothing_by_a_name_that_it_holds(name, tmp_path):
    grey = dict.fromkeys(("source", "target"), Intensity(low=(0.0,), high=(255.0,)))
    network = nets.build("pixel", dims=2)
    model = save_bundle(tmp_path / "m", between({"forward": network}), grey, channels=dict.fromkeys(grey, 1))
    meta = yaml.safe_load((model / "model.yaml").read_text())
    meta["translations"]["forward"]["network"]["name"] = name
    (model / "model.yaml").write_text(yaml.safe_dump(meta))
    assert f"network '{name}' is unknown" in message(lambda: load_bundle(model))
    assert "antigravity" not in sys.modules


def test_the_catalogues_import_no_torch_by_themselves():
    code = "import sys, vol2vol.plugins; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


LOSSES = """
def cubed(output, truth): return (output - truth).abs().pow(3).mean()
def each(output, truth): return (output - truth).abs()
def number(output, truth): return 0.5
"""


def test_a_loss_of_another_package_trains_a_regression(install):
    install("odd-losses", "vol2vol.losses", LOSSES, cubed="cubed", each="each", number="number", lost="gone")
    settings = RegressSettings(loss={"cubed": 2, "l1": 1}, network={"name": "pixel"})
    x, y = torch.rand(2, 1, 4, 5), torch.rand(2, 1, 4, 5)
    terms = paired(x, y, settings.loss)
    assert terms["cubed"].item() == pytest.approx(2 * np.mean(np.abs((x - y).numpy()) ** 3), rel=1e-5)
    assert packages(settings) == {"losses": {"cubed": {"package": "odd-losses", "version": "1.2"}}}
    where = "of the package odd-losses 1.2 returns"
    assert f"'each' {where} a tensor (2, 1, 4, 5) instead of" in message(lambda: paired(x, y, {"each": 1}))
    assert f"'number' {where} float instead of" in message(lambda: paired(x, y, {"number": 1}))
    with pytest.raises(ValidationError, match=r"loss 'lost' of the package odd-losses 1\.2 cannot be loaded"):
        RegressSettings(loss={"lost": 1})
    with pytest.raises(ValidationError, match="use one of l1, l2, smooth-l1, ssim, pearson, cubed"):
        RegressSettings(loss={"l3": 1})
