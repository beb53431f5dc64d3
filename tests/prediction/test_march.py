"""A march writes what a plain loop in raster order writes, however it is batched, shared or stopped (L12)."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.prediction.conftest import write_volume
from tests.prediction.marching import GREY, model, network_of, raster

from vol2vol import nets
from vol2vol.geometry import Box
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, dry_run, planner, predict, translate, translated
from vol2vol.prediction.painted import InLedger
from vol2vol.prediction.verification import verify
from vol2vol.protocol import March, Translation
from vol2vol.volumes import open_volume
from vol2vol.volumes.marks import Marks

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def marching(tmp_path_factory):
    """Models by number of dimensions that were trained with stitching, and their networks."""
    folder = tmp_path_factory.mktemp("marching")
    paths = {dims: model(folder / f"{dims}d", dims) for dims in (2, 3)}
    return {dims: (path, network_of(path)) for dims, path in paths.items()}


@st.composite
def marches(draw):
    """A volume of one to three tiles along each axis, and how to march over it."""
    dims = draw(st.sampled_from([2, 3]))
    tile = [draw(st.sampled_from([16, 20])) for _ in range(dims)]
    overlap = draw(st.integers(1, min(tile) - 1)) if draw(st.booleans()) else draw(st.integers(2, 6))
    step = [n - overlap for n in tile]
    shape = [draw(st.integers(1, n + (2 if dims == 2 else 1) * s + 1)) for n, s in zip(tile, step, strict=True)]
    shape[0] += dims == 3  # one plane is an image, which a 3D model refuses
    planes = [draw(st.integers(1, 3))] if dims == 2 else []
    how = {
        "tile": ",".join(map(str, tile)),
        "overlap": overlap,
        "keep": draw(st.sampled_from([None, 0.0, 0.3, 1.0])),
        "batch_size": draw(st.integers(1, 4)),
        "raw": draw(st.booleans()),
    }
    return dims, planes + shape, how, draw(st.integers(0, 99))


def expected(array, network, how, dims):
    tile = tuple(int(n) for n in how["tile"].split(","))
    keep = int((0.5 if how["keep"] is None else how["keep"]) * how["overlap"] + 0.5)
    plain = {"tile": tile, "overlap": (how["overlap"],) * dims, "keep": (keep,) * dims}
    return raster(array, network, **plain, to=np.float32 if how.get("raw") else np.uint8, planar=dims == 2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(marches())
def test_waves_are_the_raster_order(marching, case):
    dims, shape, how, seed = case
    path, network = marching[dims]
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    made = translate(path, array, PredictSettings(strategy="march", any_intensity=True, **how), axes="zyx")
    np.testing.assert_array_equal(made, expected(array, network, how, dims))


ONE = {"source": 1, "target": 1}
HOW = {"strategy": "march", "tile": "16", "overlap": 6, "any_intensity": True, "memory": "4GB"}
SHAPES = {2: (3, 37, 53), 3: (23, 29, 37)}


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_tiles_at_once_change_no_bit_where_a_batch_would(tmp_path, norm):
    """Kernels for a batch of this network round differently than those for one tile."""
    torch.manual_seed(0)
    net = nets.build("resnet", dims=3, width=8, blocks=1, norm=norm)
    applied = March(share=(0.25, 0.25))
    forward = {"forward": Translation(network=net, reads=("source",), makes=("target",), applied=applied)}
    path = save_bundle(tmp_path / "m", forward, dict.fromkeys(("source", "target"), GREY), channels=ONE)
    array = np.random.default_rng(0).integers(0, 256, (40, 70, 100), dtype=np.uint8)
    how = {"strategy": "march", "tile": "40", "raw": True, "any_intensity": True}
    one, many = (translate(path, array, PredictSettings(**how, batch_size=n), axes="zyx") for n in (1, 4))
    np.testing.assert_array_equal(one, many)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Volumes by number of dimensions of the model, and what a march in raster order makes of them."""
    folder = tmp_path_factory.mktemp("marched")
    arrays = {dims: np.random.default_rng(dims).integers(0, 256, SHAPES[dims], dtype=np.uint8) for dims in (2, 3)}
    return {dims: (write_volume(folder / f"{dims}.zarr", array), array) for dims, array in arrays.items()}


@pytest.fixture(scope="module")
def wanted(marching, volumes):
    return {
        dims: raster(
            volumes[dims][1], marching[dims][1], tile=(16,) * dims, overlap=(6,) * dims, keep=(3,) * dims,
            planar=dims == 2,
        )
        for dims in (2, 3)
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(planner, "CHUNK", 8)
    monkeypatch.setattr(planner, "SLAB", 2)


def read(path):
    with open_volume(path) as volume:
        return np.asarray(volume)[0]


def files(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


class Killed(BaseException):
    pass


def dies_after(monkeypatch, tiles):
    """Die, as by a signal, once so many tiles are marked; return the function that revives."""
    mark, seen = Marks.mark, []

    def marked(self, block, checksum):
        if block.startswith("tile-"):
            seen.append(block)
            if len(seen) > tiles:
                raise Killed
        mark(self, block, checksum)

    monkeypatch.setattr(Marks, "mark", marked)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_output_has_the_voxels_of_the_raster_order_and_no_tiles_left(tmp_path, marching, volumes, wanted, dims):
    path, (source, _) = marching[dims][0], volumes[dims]
    out = tmp_path / "out.zarr"
    predict(path, source, out, PredictSettings(**HOW))
    np.testing.assert_array_equal(read(out), wanted[dims])
    assert not (out / ".vol2vol").exists()
    assert (out / "1").exists()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_march_killed_at_any_tile_continues_to_the_same_bytes(
    tmp_path, monkeypatch, marching, volumes, wanted, dims, batch
):
    path, (source, _) = marching[dims][0], volumes[dims]
    how, out = PredictSettings(**HOW, batch_size=batch), tmp_path / "out.zarr"
    predict(path, source, tmp_path / "whole" / "out.zarr", how)
    kills = 0
    for tiles in (0, 1, 2, 3, 5, 7, 4, 6, 1, 9):
        with monkeypatch.context() as patch:
            dies_after(patch, tiles)
            try:
                predict(path, source, out, how)
            except Killed:
                kills += 1
    predict(path, source, out, how)
    assert kills >= 5
    np.testing.assert_array_equal(read(out), wanted[dims])
    assert files(out) == files(tmp_path / "whole" / "out.zarr")


def test_few_painted_tiles_are_kept_at_once(tmp_path, monkeypatch, marching, volumes):
    path, (source, _) = marching[3][0], volumes[3]
    keep, counts = InLedger.keep, []

    def kept(self, index, values):
        keep(self, index, values)
        counts.append(len(list((tmp_path / "out.zarr" / ".vol2vol" / "painted").iterdir())))

    monkeypatch.setattr(InLedger, "keep", kept)
    predict(path, source, tmp_path / "out.zarr", PredictSettings(**HOW))
    told = dry_run(path, source, PredictSettings(**HOW))
    assert len(counts) == told["tiles"] == 2 * 3 * 4
    assert max(counts) <= told["tiles kept at once"] < len(counts)
    assert told["bytes of painted tiles on disk"] == told["tiles kept at once"] * 16**3


@pytest.mark.parametrize("roi", ["0:23,0:29,0:37", "4:23,3:11,0:9", "22:23,28:29,36:37", "0:1,0:1,30:31"])
def test_a_region_has_the_voxels_of_the_whole(tmp_path, marching, volumes, wanted, roi):
    path, (source, _) = marching[3][0], volumes[3]
    predict(path, source, tmp_path / "out.zarr", PredictSettings(**HOW, roi=roi))
    part = tuple(slice(*map(int, axis.split(":"))) for axis in roi.split(","))
    np.testing.assert_array_equal(read(tmp_path / "out.zarr"), wanted[3][part])
    told = dry_run(path, source, PredictSettings(**HOW, roi=roi))["tiles"]
    assert told == {"0:1,0:1,30:31": 3, "4:23,3:11,0:9": 6}.get(roi, 24)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_translation_computed_when_read_is_the_file(marching, volumes, wanted, dims):
    path, (source, _) = marching[dims][0], volumes[dims]
    lazy = translated(path, source, PredictSettings(**HOW))
    np.testing.assert_array_equal(lazy[0, 1:3, 11:30, 20:29], wanted[dims][1:3, 11:30, 20:29])
    np.testing.assert_array_equal(np.asarray(lazy)[0], wanted[dims])


def test_blocks_are_verified_and_damage_is_noticed(tmp_path, marching, volumes):
    path, (source, array) = marching[2][0], volumes[2]
    out = tmp_path / "out.zarr"
    predict(path, source, out, PredictSettings(**HOW))
    assert not verify(out, model=path, input=source, sample=4).wrong
    write_volume(tmp_path / "in.zarr", array)
    with open_volume(out) as volume:
        volume.write(Box((0, 0, 0), volume.shards[1:]), np.zeros((1, *volume.shards[1:]), np.uint8))
        volume.flush()
    assert "0.0.0" in verify(out, model=path, input=source, sample=99).wrong


def test_a_damaged_tile_is_painted_again_with_all_that_it_needs(tmp_path, monkeypatch, marching, volumes, wanted):
    path, (source, _) = marching[3][0], volumes[3]
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        dies_after(patch, 11)
        with pytest.raises(Killed):
            predict(path, source, out, PredictSettings(**HOW))
    for file in sorted((out / ".vol2vol" / "painted").iterdir())[::2]:
        file.write_bytes(b"damaged")
    predict(path, source, out, PredictSettings(**HOW))
    np.testing.assert_array_equal(read(out), wanted[3])


def test_a_march_with_the_statistics_of_the_model_or_of_each_tile(tmp_path, volumes):
    path, (source, array) = model(tmp_path / "m", 2, norm="calibrated"), volumes[2]
    frozen, live = (translate(path, source, PredictSettings(**HOW, statistics=s)) for s in ("calibrated", "tile"))
    how = {"tile": (16, 16), "overlap": (6, 6), "keep": (3, 3), "planar": True}
    np.testing.assert_array_equal(np.squeeze(frozen), raster(array, network_of(path), **how))
    assert (frozen != live).mean() > 0.1
