"""Plans and records with a valid checksum and senseless content: refused in one line, whatever part of them it is."""

import copy
import json
import shutil
import zlib
from typing import get_type_hints

import numpy as np
import pytest
import torch

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import Intensity
from vol2vol.models.bundle import save_bundle
from vol2vol.plans import Plan
from vol2vol.plans.layout import Layout
from vol2vol.prediction.job import Request
from vol2vol.prediction.run import find, start
from vol2vol.prediction.settings import PredictSettings
from vol2vol.protocol import between
from vol2vol.volumes import create_volume
from vol2vol.volumes.ledger import Ledger, _canonical
from vol2vol.volumes.stated import Stated

torch.set_num_threads(1)
SHAPE = (6, 40, 40)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Begin a prediction; return its folder and the plan."""
    folder = tmp_path_factory.mktemp("records")
    network = nets.build("unet", dims=2, width=4, levels=2, norm="tracked")
    intensity = {domain: Intensity(low=(0.0,), high=(255.0,)) for domain in ("source", "target")}
    save_bundle(folder / "model", between({"forward": network}), intensity, channels={"source": 1, "target": 1})
    source = create_volume(
        folder / "a.zarr", shape=(1, *SHAPE), dtype="u1", voxel_size=(1, 1, 1), unit="nm", chunks=(2, 40, 40)
    )
    source.write(Box.of(SHAPE), np.random.default_rng(0).integers(0, 255, (1, *SHAPE), np.uint8))
    source.close()
    request = Request.of(folder / "model", folder / "a.zarr", PredictSettings(), "auto")
    _, job = find(request, str(folder / "out.zarr"), overwrite=False)
    start(job, str(folder / "out.zarr"), overwrite=False)
    plan = Ledger.of(str(folder / "out.zarr")).plan()
    assert plan is not None
    return folder, plan


def put(folder, plan):
    """Begin an output anew, with this plan and a checksum that fits it; return where."""
    out = folder / "again.zarr"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder / "out.zarr", out)
    (out / ".vol2vol" / "plan.json").write_text(json.dumps({**plan, "checksum": zlib.crc32(_canonical(plan))}))
    return str(out)


def places(data, path=()):
    """Yield the paths of all parts of plain data."""
    if path:
        yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(data, path, value):
    """Return a copy with one part replaced, or taken out where the value is Ellipsis."""
    new = copy.deepcopy(data)
    part = new
    for key in path[:-1]:
        part = part[key]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return new


def test_plans_of_nonsense(begun, capsys):
    folder, plan = begun
    assert main(["work", put(folder, plan)]) == 0
    refused, rng, ways = 0, np.random.default_rng(0), [None, -1, 10**30, "x\x1b[2J", [], {"a": 1}, True, 0.5, ...]
    parts = list(places(plan))
    for number in rng.permutation(len(parts))[:40]:
        path, value = parts[number], ways[rng.integers(len(ways))]
        out = put(folder, changed(plan, path, value))
        capsys.readouterr()
        code = main(["work", out])
        err = capsys.readouterr().err
        assert code in (0, 2), (path, value, err)
        assert "\x1b" not in err
        refused += code == 2
    assert refused > 25


def test_another_shape_is_not_the_planned_one(begun, capsys):
    folder, plan = begun
    larger = changed(plan, ("layout", "spatial"), [600, 40, 40])
    larger["layout"]["passes"][0]["planes"] = 600
    out = put(folder, larger)
    capsys.readouterr()
    assert main(["predict", str(folder / "model"), str(folder / "a.zarr"), out]) == 2
    assert "another shape" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            ("passes", 0, "plan", "tile"),
            ["30", 30, 30],
            r"layout\.passes\.0\.plan\.tile\.0: input should",
        ),
        (("passes", 0, "plan", "tile"), [30, 30], "as many axes"),
        (("passes", 0, "surprise"), 1, r"surprise: unexpected"),
        (("region", "start"), [0, 0], "layout"),
        (("block"), [0, 8, 8], "not those of one volume"),
        (("passes",), [], "not those of one volume"),
        (("memory",), 1.5, "memory"),
        (("spatial",), ..., "spatial: field required"),
    ],
)
def test_layouts_name_what_does_not_fit(path, value, words, begun):
    _, plan = begun
    path = (path,) if isinstance(path, str) else path
    with pytest.raises(BadInput, match=words):
        Layout.from_dict(changed(plan["layout"], path, value))
    whole = Layout.from_dict(plan["layout"])
    assert Layout.from_dict(whole.to_dict()) == whole


def test_a_plan_reads_itself_and_nothing_else():
    plan = Plan(tile=(30, 30), margin=((8, 8), (8, 8)), step=(14, 14), origin=(0, 0))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    for bad in ({}, [], None, {**plan.to_dict(), "window": "round"}, {**plan.to_dict(), "step": [15, 15]}):
        with pytest.raises(BadInput):
            Plan.from_dict(bad)


def test_every_keyword_of_volumes_may_stand_in_a_plan(begun, capsys):
    folder, plan = begun
    stated = {"axes": None, "voxel_size": [1.0, 1.0, 1.0], "unit": "nm", "time": 0, "channels": [0], "image": None}
    assert set(stated) <= set(get_type_hints(Stated))
    stated = {**dict.fromkeys(get_type_hints(Stated)), **stated}
    out = put(folder, changed(plan, ("request", "stated"), stated))
    assert main(["work", out]) == 0, capsys.readouterr().err
