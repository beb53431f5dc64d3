"""Prediction from file to file: exact, restartable, honest about what it wrote."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from tests.prediction.conftest import network, write_volume

from vol2vol import nets, plans
from vol2vol.errors import AlreadyExists, BadInput, Mismatch, NotFound
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, dry_run, predict
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.gather import gather
from vol2vol.prediction.job import Job
from vol2vol.prediction.planner import make_layout
from vol2vol.prediction.request import Request
from vol2vol.protocol import between
from vol2vol.volumes import open_volume


def read(path, **options):
    volume = open_volume(path, **options)
    return volume.read(Box.of(volume.spatial))


def reference(model_dims, source, *, direction="forward", dims=3):
    """One pass of the raw network over the whole mirrored volume, in the network's range."""
    net = nets.frozen(network(dims, seed=0 if direction == "forward" else 1))
    foot = nets.footprint(net)
    volume = open_volume(source)
    period = foot.period[0]
    before = tuple(-(-r // period) * period for r in foot.reach[0])
    size = tuple(
        foot.admissible(n + b + r, 0, at_least=True)
        for n, b, r in zip(volume.spatial[-dims:], before, foot.reach[1], strict=True)
    )
    start = (*(0,) * (3 - dims), *(-b for b in before))
    results = []
    for z in range(1 if dims == 3 else volume.spatial[0]):
        box = Box(
            start if dims == 3 else (z, *start[1:]),
            tuple(a + n for a, n in zip(start, size, strict=True))
            if dims == 3
            else (z + 1, *(a + n for a, n in zip(start[1:], size, strict=True))),
        )
        tile = torch.from_numpy(volume.read_padded(box).astype(np.float32) / 127.5 - 1)[None]
        with torch.inference_mode():
            made = net(tile if dims == 3 else tile[:, :, 0])
        made = made if dims == 3 else made[:, :, None]
        cut = tuple(
            slice(b, b + n)
            for b, n in zip((0,) * (3 - dims) + before, (1,) * (3 - dims) + volume.spatial[-dims:], strict=True)
        )
        results.append(made[0][(slice(None), *cut)].numpy())
    return np.concatenate(results, 1)


@pytest.mark.parametrize(("dims", "assembly"), [(2, "slices"), (3, "volume")])
@pytest.mark.parametrize("tile", ["auto", "smallest"])
def test_l3_exact_is_one_pass_over_the_mirrored_volume(dims, assembly, tile, models, volume, tmp_path):
    if tile == "smallest":
        tile = str(plans.smallest_exact_tile(nets.footprint(network(dims)), 0))
    settings = PredictSettings(raw=True, tile=tile, assembly=assembly)
    predict(models[dims], volume, tmp_path / "out.zarr", settings)
    np.testing.assert_allclose(read(tmp_path / "out.zarr"), reference(dims, volume, dims=dims), atol=2e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_l3_is_zero_in_float64_on_one_kernel_shape(dims):
    """Tiles of one shape, gathered in any blocks, agree with themselves and with other tilings to the last bit."""
    net = nets.cropped(nets.frozen(network(dims))).double()
    foot = nets.footprint(net)
    run = Engine.of(net)
    array = np.random.default_rng(3).standard_normal((1, 21, 37, 45)[: dims + 2 if dims == 2 else 4])
    array = array if dims == 3 else np.random.default_rng(3).standard_normal((1, 3, 37, 45))
    from vol2vol.geometry import reflect

    def read_box(box):
        index = [
            [reflect(i, n) for i in range(a, b)] for a, b, n in zip(box.start, box.stop, array.shape[1:], strict=True)
        ]
        return array[:, *np.ix_(*index)]

    tile = plans.smallest_exact_tile(foot, 0)
    made = []
    for size in (tile, tile + 3 * foot.period[0]):
        plan = plans.exact(foot, (size,) * dims)
        planar = None if dims == 3 else 0
        plan = plan if dims == 3 else plans.planar(plan, 0)
        made.append(gather(read_box, plan, run, Box.of(array.shape[1:]), planar=planar))
    assert np.abs(made[0] - made[1]).max() < 1e-13


def test_disjoint_and_average_differ_from_exact(models, volume, tmp_path):
    made = {}
    for strategy in ("exact", "printed", "disjoint", "average", "blend"):
        predict(models[3], volume, tmp_path / f"{strategy}.zarr", PredictSettings(strategy=strategy, raw=True))
        made[strategy] = read(tmp_path / f"{strategy}.zarr")
        assert made[strategy].shape == made["exact"].shape
    for strategy in ("printed", "disjoint", "average", "blend"):
        assert np.abs(made[strategy] - made["exact"]).max() > 0.01, strategy
    assert np.abs(made["blend"] - made["average"]).max() > 1e-4


def test_orthoslice_is_the_mean_of_three_slicings(models, tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (22, 25, 27), dtype=np.uint8)
    parts = []
    for axis in range(3):
        turned = np.moveaxis(array, axis, 0)
        write_volume(tmp_path / f"in{axis}.zarr", turned)
        settings = PredictSettings(raw=True, assembly="slices")
        predict(models[2], tmp_path / f"in{axis}.zarr", tmp_path / f"out{axis}.zarr", settings)
        parts.append(np.moveaxis(read(tmp_path / f"out{axis}.zarr")[0], 0, axis))
    predict(models[2], tmp_path / "in0.zarr", tmp_path / "ortho.zarr", PredictSettings(raw=True, assembly="ortho"))
    np.testing.assert_allclose(read(tmp_path / "ortho.zarr")[0], np.mean(parts, 0), atol=2e-6)


def test_orthoslice_reads_each_block_once(models, tmp_path, monkeypatch):
    from vol2vol.volumes import Volume

    array = np.random.default_rng(1).integers(0, 256, (70, 75, 77), dtype=np.uint8)
    write_volume(tmp_path / "in.zarr", array)
    read = []
    whole = Volume.read_padded
    monkeypatch.setattr(Volume, "read_padded", lambda self, box: read.append(box.size) or whole(self, box))
    made = predict(models[2], tmp_path / "in.zarr", tmp_path / "out.zarr", PredictSettings(assembly="ortho"))
    assert len(read) >= made.blocks
    assert max(read) * made.blocks > 0.6 * sum(read)


def test_anisotropic_orthoslice_resamples_and_keeps_the_shape(models, tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (7, 25, 27), dtype=np.uint8)
    write_volume(tmp_path / "in.zarr", array, voxel_size=(30, 10, 10))
    made = predict(models[2], tmp_path / "in.zarr", tmp_path / "out.zarr", PredictSettings(assembly="ortho"))
    assert [one.planes for one in made.layout.passes] == [7, 21, 21]
    assert read(tmp_path / "out.zarr").shape == (1, 7, 25, 27)


def test_region_of_interest_is_the_same_voxels(models, volume, tmp_path):
    predict(models[3], volume, tmp_path / "all.zarr", PredictSettings())
    predict(models[3], volume, tmp_path / "roi.zarr", PredictSettings(roi="3:9, :20, 30:"))
    np.testing.assert_array_equal(read(tmp_path / "roi.zarr"), read(tmp_path / "all.zarr")[:, 3:9, :20, 30:])


def test_batches_directions_and_versions(models, volume, tmp_path):
    predict(models[2], volume, tmp_path / "a.zarr", PredictSettings())
    predict(models[2], volume, tmp_path / "b.zarr", PredictSettings(batch_size=3, ome_version="0.4"))
    assert np.abs(read(tmp_path / "a.zarr").astype(int) - read(tmp_path / "b.zarr")).max() <= 1
    predict(models[2], volume, tmp_path / "c.zarr", PredictSettings(direction="backward"))
    assert (read(tmp_path / "a.zarr") != read(tmp_path / "c.zarr")).mean() > 0.5
    predict(models[2], volume, tmp_path / "d.tif", PredictSettings())
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "d.tif"), read(tmp_path / "a.zarr")[0])
    assert not (tmp_path / "d.tif.vol2vol").exists()
    assert not (tmp_path / "a.zarr" / ".vol2vol").exists()


def test_the_output_says_how_it_was_made(models, volume, tmp_path):
    predict(models[3], volume, tmp_path / "out.zarr", PredictSettings())
    said = open_volume(tmp_path / "out.zarr").attrs["vol2vol"]
    assert said["complete"] is True
    assert said["settings"]["strategy"] == "exact"
    assert said["layout"]["passes"][0]["plan"]["window"] == "flat"
    assert {"model", "input", "footprint", "intensity", "version"} <= set(said)
    json.dumps(said)
    assert open_volume(tmp_path / "out.zarr").voxel_size == (8.0, 8.0, 8.0)


def test_a_second_start_refuses_what_differs_and_finishes_what_does_not(models, volume, tmp_path):
    out = tmp_path / "out.zarr"
    predict(models[3], volume, out, PredictSettings())
    again = predict(models[3], volume, out, PredictSettings())
    assert again.voxels == 0
    with pytest.raises(Mismatch, match="strategy"):
        predict(models[3], volume, out, PredictSettings(strategy="average"))
    with pytest.raises(Mismatch, match="another model"):
        predict(models[2], volume, out, PredictSettings())
    (tmp_path / "foreign.zarr").mkdir()
    (tmp_path / "foreign.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(AlreadyExists):
        predict(models[3], volume, tmp_path / "foreign.zarr", PredictSettings(), overwrite=True)
    assert (tmp_path / "foreign.zarr" / "notes.txt").read_text() == "mine"
    with pytest.raises(AlreadyExists, match="is the input"):
        predict(models[3], volume, volume, PredictSettings(), overwrite=True)
    predict(models[3], volume, out, PredictSettings(strategy="average"), overwrite=True)


RUN = """
import os, signal, sys, torch
torch.set_num_threads(1)
from vol2vol.prediction import PredictSettings, predict
from vol2vol.volumes.marks import Marks
mark, marks = Marks.mark, []
def marked(self, *block):
    mark(self, *block)
    marks.append(block)
    if len(marks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[4] == "killed":
    Marks.mark = marked
predict(sys.argv[1], sys.argv[2], sys.argv[3], PredictSettings(tile="30"))
"""


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_killed_and_started_again_ends_in_the_same_bytes(models, tmp_path):
    whole, killed = tmp_path / "whole" / "out.zarr", tmp_path / "killed" / "out.zarr"
    array = np.random.default_rng(5).integers(0, 256, (20, 150, 150), dtype=np.uint8)
    volume = write_volume(tmp_path / "in.zarr", array)
    predict(models[3], volume, whole, PredictSettings(tile="30"))
    for end in ("killed", "killed", "killed", "whole"):
        words = [sys.executable, "-c", RUN, str(models[3]), str(volume), str(killed), end]
        assert subprocess.run(words, check=False).returncode == (-signal.SIGKILL if end == "killed" else 0)
    first, second = tree(whole), tree(killed)
    assert first.keys() == second.keys()
    for name, content in first.items():
        assert second[name] == content, name


def test_dry_run_writes_nothing_and_adds_up(models, volume, tmp_path):
    before = set(tmp_path.iterdir())
    said = dry_run(models[3], volume, PredictSettings(tile="30"))
    assert said["step"] == (8, 8, 8) or said["step"][0] % 4 == 0
    assert said["redundancy"] >= 1
    assert said["operations per voxel"] >= said["operations per voxel of an infinite tile"]
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("dims", [2, 3])
def test_dry_run_of_a_look_up_table_which_has_no_operations(dims, volume, tmp_path):
    tables = {name: nets.build("lookup", dims=dims, knots=5) for name in ("forward", "backward")}
    grey = {name: fixed(0, 255) for name in ("source", "target")}
    save_bundle(
        tmp_path / "model", between(tables), grey, channels={"source": 1, "target": 1}, provenance={"patch": 30}
    )
    said = dry_run(tmp_path / "model", volume)
    assert said["operations"] == said["operations per voxel"] == 0
    assert said["operations over that floor"] is None
    assert 0 <= said["expected seconds"] < 60


def test_workers_share_a_budget_and_tasks_have_theirs():
    settings = PredictSettings(memory="80GB", workers=4)
    alone = PredictSettings(memory="80GB").budget()
    assert abs(settings.budget() - (alone - 60 * 10**9)) < 10**9
    assert abs(settings.model_copy(update={"executor": "slurm"}).budget() - alone) < 10**9


@pytest.mark.parametrize("tile", [190, 254])
def test_chunks_are_no_crumbs(tile, models, volume):
    """A block of twice a prime is cut into two chunks per axis, not into millions of two voxels."""
    settings = PredictSettings(strategy="disjoint", tile=str(tile), memory="900GB")
    job = Job.open(Request.of(models[3], volume, settings, "last"))
    large = make_layout(
        job.engine.network, (600,) * 3, settings, assembly="volume", voxel_size=(8, 8, 8), patch=30, channels=1
    )
    assert large.block == (tile,) * 3
    assert large.chunks == (tile // 2,) * 3


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tile": "31"}, BadInput, "try 30 or 34"),
        ({"tile": "x"}, BadInput, "auto, one number"),
        ({"assembly": "slices"}, BadInput, "`assembly` volume"),
        ({"roi": "0:5"}, BadInput, "1 ranges for 3 axes"),
        ({"roi": "0:5,9:3,:"}, BadInput, "empty or outside"),
        ({"memory": "1KB"}, BadInput, "`memory`"),
        ({"memory": "infGB"}, ValueError, "is not a size"),
        ({"memory": "-5GB"}, ValueError, "is not a size"),
        ({"scheduler": "tcp://somewhere"}, ValueError, "add `executor` dask"),
        ({"device": "cuda:99"}, BadInput, "`device` cpu"),
        ({"device": "meta"}, BadInput, "cuda:1 or mps"),
        ({"device": "abacus"}, BadInput, "cuda:1 or mps"),
    ],
)
def test_bad_settings_name_the_cure(change, error, words, models, volume, tmp_path):
    with pytest.raises(error, match=words):
        predict(models[3], volume, tmp_path / "out.zarr", PredictSettings(**change))
    assert not (tmp_path / "out.zarr").exists()


def test_bad_inputs_name_the_cure(models, volume, tmp_path):
    with pytest.raises(NotFound):
        predict(models[3], tmp_path / "missing.zarr", tmp_path / "out.zarr")
    with pytest.raises(NotFound):
        predict(tmp_path / "missing", volume, tmp_path / "out.zarr")
    write_volume(tmp_path / "rgb.zarr", np.zeros((3, 4, 8, 8), np.uint8))
    with pytest.raises(BadInput, match="3 channels"):
        predict(models[3], tmp_path / "rgb.zarr", tmp_path / "out.zarr")
    array = np.zeros((1, 4, 8, 8), np.float32)
    array[0, 2, 3, 4] = np.nan
    write_volume(tmp_path / "nan.zarr", array)
    with pytest.raises(BadInput, match=r"NaN .*\(2, 3, 4\)"):
        predict(models[3], tmp_path / "nan.zarr", tmp_path / "out.zarr")
    array[0, 1, 7, 7] = np.inf  # mirrored voxels come first in what is read, but are not the first in the volume
    write_volume(tmp_path / "inf.zarr", array)
    with pytest.raises(BadInput, match=r"at voxel \(1, 7, 7\).*`overwrite`"):
        predict(models[3], tmp_path / "inf.zarr", tmp_path / "inf out.zarr")


def test_float32_is_float32_on_every_device(models, volume, tmp_path):
    torch.backends.cudnn.allow_tf32 = True
    predict(models[2], volume, tmp_path / "out.zarr", PredictSettings(tile="30"))
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize(("name", "tile"), [("retouch", "60"), ("resnet", "61")])
def test_networks_that_cut_their_tiles_lie_side_by_side(name, tile, tmp_path):
    """They cut off their whole reach, so that nothing lacks context; a ResNet's tiles are out of phase all the same."""
    torch.manual_seed(1)
    net = nets.build(name, dims=2, width=3, blocks=2, padding="valid", norm="none")
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    model = save_bundle(
        tmp_path / "model",
        between({"forward": net}),
        dict.fromkeys(("source", "target"), fixed(0, 255)),
        channels={"source": 1, "target": 1},
        statistics={"forward": "none"},
        provenance={},
    )
    volume = write_volume(tmp_path / "in.zarr", np.random.default_rng(2).integers(0, 256, (3, 90, 75), dtype=np.uint8))
    found = {}
    for strategy in ("exact", "disjoint"):
        settings = PredictSettings(strategy=strategy, tile=tile, raw=True)
        predict(model, volume, tmp_path / f"{strategy}.zarr", settings)
        found[strategy] = read(tmp_path / f"{strategy}.zarr")
    assert found["disjoint"].shape == found["exact"].shape
    assert np.allclose(found["disjoint"], found["exact"], atol=1e-5) == (name == "retouch")
