"""Networks of other programs: read only if trusted and only from their own folder; errors name what is missing."""

import json
import logging
import zipfile

import pytest
import torch
import yaml
from torch import nn

from vol2vol.cli import main
from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.evaluation import certify

torch.set_num_threads(1)
TORCHSCRIPT = "ignore:.*torch.jit.*:DeprecationWarning"


def network(dims=2):
    """Make a network of reach 2 and period 1."""
    torch.manual_seed(0)
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return nn.Sequential(kind(1, 3, 3, padding=1), nn.ReLU(), kind(3, 1, 3, padding=1)).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    sizes = {2: torch.export.Dim("y", min=4, max=512), 3: torch.export.Dim("x", min=4, max=512)}
    torch.export.save(torch.export.export(network(), (torch.zeros(1, 1, 32, 32),), dynamic_shapes=(sizes,)), path)
    return path


def bioimage(folder, net=None, **changes):
    """Write a model as bioimage.io has it and return its folder."""
    folder.mkdir()
    torch.jit.script(net or network()).save(folder / "weights.pt")
    said = {
        "format_version": "0.4.9",
        "type": "model",
        "inputs": [{"name": "raw", "axes": "bcyx", "shape": {"min": [1, 1, 32, 32], "step": [0, 0, 1, 1]}}],
        "weights": {"torchscript": {"source": "weights.pt"}},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump({**said, **changes}))
    return folder


def zipped(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as file:
        for one in folder.iterdir():
            file.write(one, one.name)
    return path


def said_of(words, capsys):
    code = main(["certify", *map(str, words)])
    return code, *capsys.readouterr()


def test_a_program_of_torch_export_is_certified_on_trust_and_left_alone_without(exported, capsys, caplog, monkeypatch):
    with caplog.at_level(logging.WARNING):
        code, out, _ = said_of([exported, "--trust", "--json"], capsys)
    assert code == 0
    assert json.loads(out)["sentence"] == "Stitchable: reach 2, period 1; tiles agree to rounding."
    assert caplog.messages == [f"{exported} is read on trust: code in it may be executed"]
    monkeypatch.setattr(torch.export, "load", lambda path: pytest.fail("it was read"))
    code, out, err = said_of([exported], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "add --trust" in err


def test_a_damaged_or_other_program_is_one_line(tmp_path, exported, capsys):
    (tmp_path / "net.pt2").write_bytes(exported.read_bytes()[:400])
    with pytest.raises(Unreadable, match=r"is not a torch\.export program"):
        certify(tmp_path / "net.pt2", trust=True)
    assert capsys.readouterr().err == ""
    two = torch.export.export(Two(), (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)))
    torch.export.save(two, tmp_path / "two.pt2")
    with pytest.raises(BadInput, match="reads 2 tensors"):
        certify(tmp_path / "two.pt2", trust=True)


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


@pytest.mark.filterwarnings(TORCHSCRIPT)
def test_a_model_of_bioimage_io_is_certified_as_folder_zip_and_description(tmp_path, capsys, monkeypatch):
    folder = bioimage(tmp_path / "model")
    for path in (folder, folder / "rdf.yaml", zipped(folder)):
        found = certify(path, trust=True)
        assert found.sentence == "Stitchable: reach 2, period 1; tiles agree to rounding."
        assert set(found.measured) == {"y", "x"}
    assert said_of([folder, "--trust"], capsys)[0] == 0
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was read"))
    for path in (folder, tmp_path / "model.zip"):
        assert "add --trust" in said_of([path], capsys)[2]


@pytest.mark.filterwarnings(TORCHSCRIPT)
def test_what_a_description_of_format_0_5_says_of_the_input_is_heeded(tmp_path, caplog):
    axes = [{"type": "batch"}, {"type": "channel", "channel_names": ["raw"]}]
    axes += [{"type": "space", "id": name, "size": {"min": 12, "step": 1}} for name in "zyx"]
    steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["x", "y"]}}]
    inputs = [{"id": "raw", "axes": axes, "preprocessing": steps}]
    folder = bioimage(tmp_path / "model", network(3), format_version="0.5.3", inputs=inputs)
    with caplog.at_level(logging.WARNING):
        found = certify(folder, trust=True)
    assert found.stitchable, found.sentence
    assert set(found.measured) == {"z", "y", "x"}
    assert "preprocessing zero_mean_unit_variance is not applied and not certified" in caplog.text


@pytest.mark.filterwarnings(TORCHSCRIPT)
@pytest.mark.parametrize("source", ["../secret.pt", "/etc/passwd", "https://example.org/weights.pt", "a\\..\\b.pt"])
def test_nothing_outside_a_model_is_read(tmp_path, source):
    folder = bioimage(tmp_path / "model", weights={"torchscript": {"source": source}})
    (tmp_path / "secret.pt").write_bytes((folder / "weights.pt").read_bytes())
    for path in (folder, zipped(folder)):
        with pytest.raises(BadInput, match="outside itself"):
            certify(path, trust=True)


@pytest.mark.filterwarnings(TORCHSCRIPT)
def test_a_link_out_of_a_model_is_not_followed(tmp_path):
    folder = bioimage(tmp_path / "model")
    (folder / "weights.pt").rename(tmp_path / "secret.pt")
    (folder / "weights.pt").symlink_to(tmp_path / "secret.pt")
    with pytest.raises(BadInput, match="leads out of it"):
        certify(folder, trust=True)


@pytest.mark.filterwarnings(TORCHSCRIPT)
def test_descriptions_that_do_not_fit_say_so(tmp_path):
    def refused(error, match, **changes):
        folder = bioimage(tmp_path / f"model{len(list(tmp_path.iterdir()))}", **changes)
        with pytest.raises(error, match=match):
            certify(folder, trust=True)
        return folder

    refused(BadInput, "no torchscript weights", weights={"onnx": {"source": "weights.onnx"}})
    refused(BadInput, "must name one input", inputs=[])
    refused(BadInput, "reads axes 'byxc'", inputs=[{"axes": "byxc", "shape": [1, 32, 32, 1]}])
    refused(NotFound, "lacks other.pt", weights={"torchscript": {"source": "other.pt"}})
    refused(BadInput, "does not describe a model", weights=3)
    refused(Unreadable, "is not TorchScript", weights={"torchscript": {"source": "rdf.yaml"}})
    folder = bioimage(tmp_path / "tagged")
    (folder / "rdf.yaml").write_text("inputs: !!python/object/apply:os.getcwd []")
    with pytest.raises(Unreadable, match="is not YAML"):
        certify(folder, trust=True)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as file:
        file.writestr("readme", "")
    with pytest.raises(BadInput, match="not a model of bioimage"):
        certify(tmp_path / "empty.zip", trust=True)
