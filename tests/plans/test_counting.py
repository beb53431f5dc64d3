"""Costs counted by kinds of blocks equal those of all blocks, and need no list of blocks."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, ceil_div, grid
from vol2vol.intensity import Intensity
from vol2vol.models.bundle import save_bundle
from vol2vol.plans.counting import count_blocks, intervals, rows_of
from vol2vol.prediction import layout_cost, planner
from vol2vol.prediction.engine import predicting
from vol2vol.prediction.layout_cost import cost_of, kinds_of_rows
from vol2vol.prediction.planner import make_layout
from vol2vol.prediction.settings import PredictSettings
from vol2vol.protocol import between
from vol2vol.volumes import create_volume

torch.set_num_threads(1)


@given(st.integers(0, 50), st.integers(1, 4000), st.integers(1, 40), st.integers(1, 60), st.integers(1, 9))
def test_kinds_stand_for_every_interval(start, size, block, edge, phases):
    kinds = intervals(start, start + size, block, edge=edge, phases=phases)
    count = ceil_div(size, block)
    assert sum(n for _, _, n in kinds) == count
    whole = [(a, min(a + block, start + size)) for a in range(start, start + size, block)]
    assert {(a, b) for a, b, _ in kinds} <= set(whole)

    def price(k, a, b):
        """Cost what depends on the length, on the phase, and on the distance to an end that is near."""
        return (b - a) * (1 + k % phases) + max(0, edge - (a - start)) + max(0, edge - (start + size - b))

    everything = sum(price(k, a, b) for k, (a, b) in enumerate(whole))
    counted = sum(n * price((a - start) // block, a, b) for a, b, n in kinds)
    assert counted == everything


def test_what_has_no_period_is_sampled():
    kinds = intervals(0, 10**18, 64, edge=10, phases=None)
    assert len(kinds) < 300
    assert sum(n for _, _, n in kinds) == ceil_div(10**18, 64)


def test_rows_have_a_first_and_a_last_block():
    region, block = Box((1, 2, 3), (9, 22, 33)), (4, 5, 7)
    kinds = [intervals(a, b, n, edge=1, phases=1) for a, b, n in zip(region.start, region.stop, block, strict=True)]
    for axis in (None, 0, 1, 2):
        rows = list(rows_of(region, block, kinds, axis))
        expected = count_blocks(region, block) // (1 if axis is None else ceil_div(region.shape[axis], block[axis]))
        assert sum(n for _, n in rows) == expected
        for row, _ in rows:
            assert {row[0], row[-1]} <= set(grid(region, block))
            assert axis is None or (row[0].start[axis], row[-1].stop[axis]) == (region.start[axis], region.stop[axis])


WAYS = [
    (2, "slices", {}),
    (2, "ortho", {}),
    (3, "volume", {}),
    (2, "slices", {"tile": "46"}),
    (2, "slices", {"strategy": "blend", "tile": "48"}),
    (3, "volume", {"strategy": "average", "tile": "40"}),
    (3, "volume", {"roi": "3:90,5:77,2:70"}),
    (2, "ortho", {"tile": "46"}),
]


@pytest.mark.parametrize(("dims", "assembly", "options"), WAYS, ids=lambda x: str(x).replace("'", ""))
def test_the_same_as_block_by_block(dims, assembly, options, monkeypatch):
    shape, settings = (190, 183, 171), PredictSettings(**options)
    net = predicting(nets.build("unet", dims=dims, levels=2, width=2, norm="none").eval(), settings)
    for name, value in {"CHUNK": 8, "SLAB": 4, "SWEEP_LENGTH": 16, "SWEEP_ROWS": 8}.items():
        monkeypatch.setattr(planner, name, value)
    layout = make_layout(net, shape, settings, assembly=assembly, voxel_size=(1.0, 1.0, 1.0), patch=None, channels=1)
    counted = cost_of(layout, net)
    kinds = kinds_of_rows(layout, net)
    assert sum(n for _, n in kinds) == len(layout.rows(layout.blocks()))
    assert len(kinds) < len(layout.rows(layout.blocks())) or assembly != "slices"
    single = [(row if len(row) > 1 else row * 2, 1) for row in layout.rows(layout.blocks())]
    monkeypatch.setattr(layout_cost, "kinds_of_rows", lambda *_: [([row[0], row[-1]], 1) for row, _ in single])
    assert counted == cost_of(layout, net)
    assert counted.blocks == len(layout.blocks())


def test_huge_declared_volumes_are_counted_at_once(tmp_path, capsys):
    network = nets.build("unet", dims=2, levels=2, width=2, norm="none")
    values = {domain: Intensity(low=(0.0,), high=(255.0,)) for domain in ("source", "target")}
    save_bundle(tmp_path / "m", between({"forward": network.eval()}), values, channels={"source": 1, "target": 1})
    path = tmp_path / "a.zarr"
    volume = create_volume(path, shape=(1, 8, 16, 16), dtype="u1", voxel_size=(1, 1, 1), unit="nm", chunks=(8, 16, 16))
    volume.write(Box.of((8, 16, 16)), np.zeros((1, 8, 16, 16), np.uint8))
    volume.close()
    file = path / "0" / "zarr.json"
    meta = json.loads(file.read_text())
    for shape in ([10**6, 100, 100], [10**6] * 3, [10**18, 1, 1], [1, 10**9, 10**9]):
        file.write_text(json.dumps({**meta, "shape": shape}))
        for verb, more in itertools.product(("predict", "prepare"), ((), ("--json",))):
            words = [verb, *([tmp_path / "m"] if verb == "predict" else []), path, tmp_path / "out.zarr", "--dry-run"]
            capsys.readouterr()
            code = main([str(word) for word in (*words, *more)])
            out, err = capsys.readouterr()
            assert code == 0, (shape, verb, err)
            assert out
    assert not (tmp_path / "out.zarr").exists()


def test_a_list_of_too_many_blocks_is_refused():
    net = nets.build("unet", dims=2, levels=2, width=2, norm="none").eval()
    layout = make_layout(
        predicting(net, PredictSettings()),
        (10**6, 10**6, 10**6),
        PredictSettings(),
        assembly="slices",
        voxel_size=(1.0, 1.0, 1.0),
        patch=None,
        channels=1,
    )
    with pytest.raises(BadInput, match="predict parts of it, with `roi`"):
        layout.blocks()
