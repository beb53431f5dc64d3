"""L13: any box of a translated volume has the bytes of the finished file, in any order, whatever is kept meanwhile."""

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import dask.array
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vol2vol
from vol2vol import nets
from vol2vol.errors import BadInput, NotFound
from vol2vol.evaluation.seams import grids_of
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.prediction import Job, PredictSettings, planner, predict, translate, translated
from vol2vol.protocol import between
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
UNIT = {"voxel_size": (30, 10, 10), "unit": "nm"}


def network(dims, inputs=1, outputs=1, seed=0, **arguments):
    """A U-Net with random weights and made-up statistics."""
    torch.manual_seed(seed)
    arguments = {"norm": "calibrated", **arguments}
    net = nets.build("unet", dims=dims, levels=2, width=4, in_channels=inputs, out_channels=outputs, **arguments)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d):
            torch.nn.init.normal_(module.weight, 0, 0.25)
    if arguments["norm"] == "calibrated":
        size = nets.footprint(net).admissible(40, 0, at_least=True)
        nets.calibrate(net, [torch.randn(2, inputs, *(size,) * dims)])
    return net.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models by number of dimensions and of channels read and made."""
    folder, grey = tmp_path_factory.mktemp("models"), fixed(0, 255)
    nets_of = {
        "2d": (2, 1, 1, {}), "3d": (3, 1, 1, {}), "rgb": (2, 3, 3, {}), "stain": (2, 1, 3, {}), "fuse": (3, 2, 1, {}),
        "dependent": (2, 1, 1, {"norm": "instance"}), "noisy 2d": (2, 1, 1, {}), "noisy 3d": (3, 1, 2, {}),
    }  # fmt: skip
    for name, (dims, inputs, outputs, arguments) in nets_of.items():
        noise = 2 if name.startswith("noisy") else 0
        save_bundle(
            folder / name,
            between({"forward": network(dims, inputs + noise, outputs, **arguments)}, noise),
            {"source": grey, "target": grey},
            channels={"source": inputs, "target": outputs},
            provenance={"patch": 30},
        )
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Cut small volumes into many blocks."""
    for name, value in {"CHUNK": 16, "SLAB": 4, "SWEEP_LENGTH": 16, "SWEEP_ROWS": 8}.items():
        monkeypatch.setattr(planner, name, value)
    monkeypatch.setattr(PredictSettings, "resident", lambda self: 0)


def array(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


CASES = {
    "slices": ("2d", (1, 9, 37, 41), "u1", {}),
    "slices, printed": ("2d", (1, 5, 37, 41), "u2", {"strategy": "printed"}),
    "slices, blended": ("2d", (1, 5, 37, 41), "f4", {"strategy": "blend", "window": "gaussian"}),
    "slices, seams": ("2d", (1, 5, 37, 41), "u1", {"strategy": "disjoint", "batch_size": 3}),
    "tile-dependent": ("dependent", (1, 5, 37, 41), "u1", {"strategy": "average"}),
    "one plane": ("2d", (1, 1, 53, 1), "u1", {}),
    "colours": ("rgb", (3, 2, 37, 41), "u1", {}),
    "three stains of one": ("stain", (1, 3, 37, 21), "u2", {"tile": "30"}),
    "orthoslices": ("2d", (1, 9, 25, 35), "u1", {"assembly": "ortho", "memory": "600KB"}),
    "volume": ("3d", (1, 21, 37, 23), "u1", {}),
    "volume, narrow columns": ("3d", (1, 21, 37, 23), "u1", {"memory": "700KB"}),
    "volume, tiles": ("3d", (1, 21, 37, 23), "f4", {"tile": "30", "raw": True}),
    "volume, averaged": ("3d", (1, 9, 17, 75), "u2", {"strategy": "average", "tile": "24"}),
    "volume, another type": ("3d", (1, 19, 5, 23), "u1", {"dtype": "uint16"}),
    "noise": ("noisy 2d", (1, 5, 37, 41), "u1", {"seed": 3}),
    "noise in tiles of their own": ("noisy 2d", (1, 5, 37, 41), "u1", {"strategy": "average", "noise": "tiles"}),
    "noise in a region": ("noisy 3d", (1, 21, 37, 23), "u2", {"roi": "3:,2:,:20"}),
    "two channels of a region": ("fuse", (2, 29, 31, 23), "i2", {"roi": "3:,2:,:20"}),
}


@pytest.fixture(scope="module")
def finished(models, tmp_path_factory):
    """Return, by case, the model, the input and the finished file, each made once."""
    made = {}

    def make(case):
        if case not in made:
            name, shape, dtype, how = CASES[case]
            folder = tmp_path_factory.mktemp("finished")
            with create_volume(folder / "in.zarr", shape=shape, dtype=dtype, chunks=(8, 8, 8), **UNIT) as source:
                source.write(Box.of(shape[1:]), array(shape, dtype))
            plan = PredictSettings(**how)
            predict(models / name, folder / "in.zarr", folder / "out.zarr", plan)
            made[case] = models / name, folder / "in.zarr", open_volume(folder / "out.zarr"), plan
        return made[case]

    return make


def boxes(spatial):
    """Boxes inside a volume, empty ones too."""
    return st.tuples(*[st.tuples(*[st.integers(0, n)] * 2).map(sorted) for n in spatial]).map(
        lambda ends: Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    )


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_l13_any_box_is_that_of_the_finished_file(case, data, finished):
    model, source, file, plan = finished(case)
    lazy = translated(model, source, plan, cache=data.draw(st.sampled_from(["0", "5KB", "1GB"])))
    assert len(lazy.layout.blocks()) > (6 if "narrow" in case else 1)
    expected = np.asarray(file)
    for box in data.draw(st.lists(boxes(file.spatial), min_size=1, max_size=3)):
        found = lazy.read(box)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected[(slice(None), *box.slices)])


@pytest.mark.parametrize("case", CASES)
def test_what_is_known_of_the_file_is_known_before(case, finished):
    model, source, file, plan = finished(case)
    lazy = translated(model, source, plan)
    for name in ("shape", "dtype", "voxel_size", "unit", "offset", "placed", "channel_names", "attrs", "spatial"):
        assert getattr(lazy, name) == getattr(file, name), name
    assert grids_of(lazy) == grids_of(file)
    assert lazy.chunks == (len(lazy), *map(min, lazy.layout.block, lazy.spatial))
    np.testing.assert_array_equal(lazy[..., ::-3, 1:], np.asarray(file)[..., ::-3, 1:])
    np.testing.assert_array_equal(lazy.read_padded(Box.of(file.spatial).grow((1, 2, 0), (2, 0, 3))),
                                  file.read_padded(Box.of(file.spatial).grow((1, 2, 0), (2, 0, 3))))  # fmt: skip


@pytest.mark.parametrize("case", ["slices", "volume", "colours"])
def test_an_array_is_translated_as_its_file_is(case, finished):
    model, source, file, plan = finished(case)
    values = np.asarray(open_volume(source))
    kept = values.copy()
    lazy = translated(load_bundle(model), values, plan, axes="czyx", **UNIT)
    np.testing.assert_array_equal(lazy, file)
    assert (lazy.voxel_size, lazy.unit) == (file.voxel_size, file.unit)
    whole = translate(model, open_volume(source), plan)
    assert whole.ndim == len(open_volume(source).axes)
    np.testing.assert_array_equal(whole.reshape(file.shape), file)
    np.testing.assert_array_equal(values, kept)


def test_dask_computes_the_file(finished):
    model, source, file, plan = finished("volume")
    lazy = translated(model, source, plan)
    graph = dask.array.from_array(lazy, chunks=lazy.chunks)
    assert graph.npartitions == len(lazy.layout.blocks())
    np.testing.assert_array_equal(graph.compute(scheduler="threads", num_workers=3), file)
    part = graph[0, ::-2, 5, 3:9].astype(float).sum(axis=0)
    np.testing.assert_array_equal(part.compute(), np.asarray(file)[0, ::-2, 5, 3:9].sum(axis=0))
    assert dask.array.from_array(translated(model, source, plan), chunks=lazy.chunks).name == graph.name
    other = translated(model, source, plan.model_copy(update={"raw": True}))
    assert other.fingerprint() != lazy.fingerprint()


def test_threads_and_other_processes_read_the_same(finished):
    model, source, file, plan = finished("slices")
    lazy = translated(model, source, plan, cache="0")
    with ThreadPoolExecutor(4) as pool:
        planes = list(pool.map(lambda z: lazy[0, z], range(file.spatial[0])))
    np.testing.assert_array_equal(planes, file[0])
    there = pickle.loads(pickle.dumps(lazy))
    assert there.layout == lazy.layout
    np.testing.assert_array_equal(there[:, 3], file[:, 3])


@pytest.mark.parametrize("case", ["slices", "volume"])
def test_translations_of_translations_are_those_of_files(case, finished, tmp_path):
    model, source, file, plan = finished(case)
    again = PredictSettings(any_intensity=True)
    predict(model, file.path, tmp_path / "twice.zarr", again)
    twice = translated(model, translated(model, source, plan), again)
    np.testing.assert_array_equal(twice[:, :, 4:9], open_volume(tmp_path / "twice.zarr")[:, :, 4:9])
    np.testing.assert_array_equal(twice, open_volume(tmp_path / "twice.zarr"))


# What is kept, and what it takes


@pytest.fixture
def computed(monkeypatch):
    """The blocks that are computed, in order."""
    blocks, whole = [], Job.predict_row

    def spied(self, row):
        for box, raw in whole(self, row):
            blocks.append(box)
            yield box, raw

    monkeypatch.setattr(Job, "predict_row", spied)
    return blocks


def test_only_what_is_read_is_computed_and_once_while_it_is_kept(finished, computed):
    model, source, file, plan = finished("volume, narrow columns")
    lazy = translated(model, source, plan)
    assert not computed
    assert lazy[:, 3:3].size == 0
    assert not computed
    first = lazy.layout.block
    _ = lazy[0, 0, 0, 0], lazy[0, first[0] - 1, 1], lazy[0, 1, :, first[2] - 1]
    touched = {box.start for box in computed}
    assert len(computed) == len(touched) < len(lazy.layout.blocks())
    np.testing.assert_array_equal(lazy, file)
    np.testing.assert_array_equal(lazy[::-1], file[::-1])
    assert len(computed) == len(lazy.layout.blocks())
    computed.clear()
    np.testing.assert_array_equal(translated(model, source, plan, cache="0")[0, ::2, ::2], file[0, ::2, ::2])
    assert len(computed) == len(lazy.layout.blocks())


def test_what_is_kept_is_bounded(finished, computed):
    model, source, file, plan = finished("slices")
    block = int(np.prod(translated(model, source, plan).layout.block))
    for cache, most in ((f"{3 * block}", 3 * block), ("0", block)):
        lazy = translated(model, source, plan, cache=cache)
        for _ in range(2):
            for z in range(file.spatial[0]):
                np.testing.assert_array_equal(lazy[0, z], file[0, z])
                assert 0 < lazy._blocks.used_bytes <= most
    computed.clear()
    _ = lazy[0, 0, 0, 0], lazy[0, 1, 1, 1], lazy[0, 0, 0, 0]
    assert len(computed) == 1  # the last block is kept, whatever its size


def test_memory_does_not_grow_with_the_volume(models):
    tile = np.random.default_rng(0).integers(0, 256, (1, 1, 64), np.uint8)
    huge = np.broadcast_to(tile, (1 << 20, 1 << 20, 64))  # 70 TB that take 64 bytes
    lazy = translated(models / "3d", huge, PredictSettings(tile="30", memory="2GB"))
    tracemalloc.start()
    corner = lazy[0, -9:, -5:, 2:7]
    middle = lazy[0, 500_001:500_004, 7, ::9]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (corner.shape, middle.shape) == ((9, 5, 5), (3, 8))
    assert peak < 50e6
    with pytest.raises(BadInput, match=r"translation of array: an array of shape .* GB are free"):
        np.asarray(lazy)


# Numpy in, numpy out


@pytest.mark.parametrize(
    ("model", "axes", "shape", "made"),
    [
        ("2d", "yx", (37, 41), (37, 41)),
        ("2d", "zyx", (3, 37, 41), (3, 37, 41)),
        ("2d", "xyz", (41, 37, 3), (41, 37, 3)),
        ("rgb", "yxc", (37, 41, 3), (37, 41, 3)),
        ("stain", "yx", (37, 41), (3, 37, 41)),
        ("stain", "zyx", (2, 37, 41), (3, 2, 37, 41)),
        ("3d", "czyx", (1, 9, 37, 41), (1, 9, 37, 41)),
        ("fuse", "zcyx", (9, 2, 37, 11), (9, 1, 37, 11)),
    ],
)
def test_a_whole_array_keeps_its_axes(model, axes, shape, made, models):
    values = array(shape, np.uint8)
    found = vol2vol.translate(models / model, values, axes=axes)
    assert (found.shape, found.dtype) == (made, np.uint8)
    assert found.flags.c_contiguous
    czyx = np.asarray(vol2vol.translated(models / model, values, axes=axes))
    letters = axes if len(made) == len(axes) else f"c{axes}"
    order = [letters.index(letter) for letter in "czyx" if letter in letters]
    np.testing.assert_array_equal(found.transpose(order).reshape(czyx.shape), czyx)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8", ">u2"])
def test_the_type_stays_unless_another_is_asked_for(dtype, models):
    values = array((2, 20, 21), dtype)
    assert translate(models / "2d", values).dtype == np.dtype(dtype).newbyteorder("=")
    assert translate(models / "2d", values, PredictSettings(raw=True)).dtype == np.float32
    with pytest.raises(BadInput, match="array holds int64"):
        translate(models / "2d", values.astype("i8"))


def test_intensities_that_do_not_fit_are_refused_or_measured(models):
    values = array((3, 37, 41), np.uint16) * 64
    with pytest.raises(BadInput, match=r"array does not have the intensities .* `intensity_from` array"):
        translated(models / "2d", values)
    assert translate(models / "2d", values, PredictSettings(any_intensity=True)).shape == values.shape
    measured = translate(models / "2d", values, PredictSettings(intensity_from="array", dtype="uint8"))
    assert len(np.unique(measured)) > 30


def test_what_cannot_be_translated_is_one_line(models):
    values = array((9, 37, 41), np.float32)
    values[5, 30, 5] = np.nan
    lazy = translated(models / "2d", values)
    assert np.isfinite(lazy[0, 0]).all()
    with pytest.raises(BadInput, match=r"array holds NaN or infinity at voxel \(5, 30, 5\)"):
        np.asarray(lazy)
    with pytest.raises(BadInput, match="array has 1 channel, the model reads 3"):
        translated(models / "rgb", values)
    with pytest.raises(BadInput, match="is open: state its unit where it is opened"):
        translated(models / "2d", open_volume(values), unit="nm")
    with pytest.raises(BadInput, match="no direction 'back'"):
        translated(models / "2d", values, PredictSettings(direction="back"))
    with pytest.raises(NotFound, match="nothing"):
        translated(models / "nothing", values)
    with pytest.raises(BadInput, match="is not a size"):
        translated(models / "2d", values, cache="much")
    with pytest.raises(OSError, match="cannot be written to"):
        lazy.write(Box.of((1, 1, 1)), np.zeros((1, 1, 1, 1), np.float32))


@pytest.mark.parametrize("name", ["2d", "dependent"])
def test_an_open_model_stays_as_it_is(name, models):
    bundle = load_bundle(models / name)
    module = bundle.network("forward")
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    translate(bundle, array((1, 30, 30), np.uint8), PredictSettings(strategy="average"))
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], [], (1.5, 2)])
def test_lists_are_refused_as_neither_paths_nor_arrays(models, values):
    with pytest.raises(BadInput, match="a list is neither a path nor an array"):
        translate(models / "2d", values)
