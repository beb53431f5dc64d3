"""Tests of domains, outputs and models that do not fit: one line with what, where and the cure, and no output."""

import numpy as np
import pytest
import tifffile
import torch
import yaml

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.protocol import Translation

torch.set_num_threads(1)
SHAPE = (4, 60, 62)
SIZE = ["--voxel-size", "8,8,8", "--unit", "nm"]
UNET = {"name": "unet", "arguments": {"levels": 2, "width": 2, "norm": "none"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with images, invalid masks, recipes, and models with two outputs, one of an older schema."""
    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(0)
    image = random.integers(0, 255, SHAPE, dtype=np.uint8)
    mask = (random.random(SHAPE) > 0.6).astype(np.float32)
    for name, array in {"a": image, "b": 255 - image, "mask": mask}.items():
        tifffile.imwrite(folder / f"{name}.tif", array, photometric="minisblack")
    for name, value in {"fraction": 0.25, "negative": -1, "nan": np.nan}.items():
        wrong = mask.copy()
        wrong[3, 59, 61] = value
        tifffile.imwrite(folder / f"{name}.tif", wrong, photometric="minisblack")
    tasks = {
        "regress": {"name": "regress", "network": UNET},
        "stains": {"name": "regress", "network": UNET, "sources": ["phase", "dic"], "targets": ["actin"]},
        "denoise": {"name": "denoise", "network": UNET},
        "cyclegan": {"name": "cyclegan", "generator": UNET},
        "segment": {"name": "segment", "network": {"name": "segmenter", "arguments": {"levels": 2, "width": 2}}},
    }
    for name, task in tasks.items():
        recipe = {"task": task, "data": {"patch": 34 if name != "segment" else 36}, "train": {"epochs": 1}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    for name in ("model", "old"):
        save_bundle(
            folder / name,
            {
                "forward": Translation(
                    network=nets.build("unet", dims=2, levels=2, width=2, out_channels=2, norm="none"),
                    reads=("source",),
                    makes=("actin", "nuclei"),
                )
            },
            {domain: fixed(0, 255) for domain in ("source", "actin", "nuclei")},
            channels={"source": 1, "actin": 1, "nuclei": 1},
            provenance={"patch": 34},
        )
    about = folder / "old" / "model.yaml"
    about.write_text(about.read_text().replace("schema: 2", "schema: 1"))
    return folder


OLD = "old/model.yaml has schema 1 of an older vol2vol, this one reads 2: train the model again"
MASK = ", but a mask holds whole numbers from 0 on, 0 for background: "
MAKE = f"{MASK}make one with vol2vol prepare --above VALUE or --ids NUMBERS"
LACKING = "the task needs the domain {}: give its volumes with {}, or name all volumes in a --sheet"
CASES = {
    "no target": ("train regress.yaml --source a.tif", LACKING.format("target", "--target PATH")),
    "no source": ("train regress.yaml --target b.tif", LACKING.format("source", "--source PATH")),
    "nothing": ("train cyclegan.yaml", LACKING.format("source", "--source PATH")),
    "no noisy images": ("train denoise.yaml --target b.tif", LACKING.format("source", "--source PATH")),
    "no mask": ("train segment.yaml --source a.tif", LACKING.format("target", "--target PATH")),
    "one of two named": (
        "train stains.yaml --data phase=a.tif --data actin=b.tif",
        LACKING.format("dic", "--data dic=PATH"),
    ),
    "unknown": (
        "train regress.yaml --source a.tif --target b.tif --data nuclei=a.tif",
        "the task does not know the domain nuclei: it takes source, target",
    ),
    "unknown where others have names": (
        "train stains.yaml --data phase=a.tif --data dic=a.tif --data actin=b.tif --source a.tif",
        "the task does not know the domain source: it takes phase, dic, actin",
    ),
    "domain without a path": (
        "train regress.yaml --source a.tif --target b.tif --data nuclei",
        "--data nuclei is not NAME=PATH, such as nuclei=a.tif",
    ),
    "fraction in a mask": ("train segment.yaml --source a.tif --target fraction.tif", f"fraction.tif holds 0.25{MAKE}"),
    "negative mask": ("train segment.yaml --source a.tif --target negative.tif", f"negative.tif holds -1{MAKE}"),
    "NaN in a mask": (
        "train segment.yaml --source a.tif --target nan.tif",
        f"nan.tif holds nan{MASK}write a number there",
    ),
    "fraction in a mask to judge by": ("evaluate overlap a.tif fraction.tif", f"fraction.tif holds 0.25{MAKE}"),
    "output that is not made": (
        "predict model a.tif out.zarr --outputs lamin",
        "forward does not make the domain lamin: it makes actin, nuclei",
    ),
    "source as output": (
        "predict model a.tif out.zarr --outputs actin source",
        "forward does not make the domain source: it makes actin, nuclei",
    ),
    "output twice": (
        "predict model a.tif out.zarr --outputs nuclei nuclei",
        "outputs nuclei, nuclei name a domain twice: name each once, of actin, nuclei",
    ),
    "direction that is not there": (
        "predict model a.tif out.zarr --direction backward",
        "the model has no direction 'backward': it has forward",
    ),
    "old model to predict": ("predict old a.tif out.zarr", OLD),
    "old model to describe": ("info old", OLD),
    "old model to certify": ("certify old", OLD),
    "old model to adapt": ("adapt old a.tif new", OLD),
    "old model to start from": ("train regress.yaml --source a.tif --target b.tif --from old", OLD),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_in_one_line_and_nothing_is_begun(case, world, monkeypatch, capsys):
    text, message = CASES[case]
    monkeypatch.chdir(world)
    words = text.split()
    if words[0] == "train":
        words[1:2] = ["--recipe", words[1], "--out", "new"]
    if words[0] in ("train", "predict", "evaluate", "adapt"):
        words += SIZE
    before = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("vol2vol: measuring")]
    assert len(lines) == 1, lines
    assert lines[0].removeprefix("vol2vol: ").removeprefix(f"{world}/") == message
    assert {path: path.read_bytes() for path in world.rglob("*") if path.is_file()} == before
