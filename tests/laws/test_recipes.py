"""L8: every shipped recipe builds, trains one step and predicts one block on a CPU.

The paper's networks at full size take minutes and gigabytes per step here, so a step of theirs is trained with width 2
(critics too), in 3D with the smallest patch on which the losses are defined, and in float32; levels, padding, norm,
losses and schedule stay as shipped; so do those for circles, on patches of 176 at most. Segmenters get width 4 and one
held-out patch, in 3D patches of 60 (in 2D with four levels of 108). At full size the paper's networks are built without
memory (torch's meta device), and their parameters and footprints are compared with the paper and its reference code.
The small cycleGANs run as they are, but for the number of steps.
"""

import numpy as np
import pytest
import torch

from vol2vol import nets
from vol2vol.geometry import Box
from vol2vol.prediction import PredictSettings, predict
from vol2vol.protocol import networks
from vol2vol.recipes import list_recipes, load_recipe, train
from vol2vol.tasks import CycleGAN
from vol2vol.training import read_log
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
RECIPES = list_recipes()
ONE_STEP = ("train.epochs=1", "train.steps_per_epoch=1", "data.calibration=1", "train.num_workers=0")
NARROW = ("task.generator.arguments.width=2", "task.critic.arguments.width=2", "train.precision=32")
SEGMENT = ("task.network.arguments.width=4", "data.labels.held_out_patches=1", "train.precision=32")
PARAMETERS = {2: (16.65, 2.76), 3: (66.60, 11.05)}
"""Millions in a generator and a critic of the reference code."""


def shrunk(name):
    """Return the overrides with which one step of a recipe takes seconds."""
    recipe = load_recipe(name)
    if recipe.task.name == "segment":
        smaller = {"segment-real-2d": ("data.patch=108",)}.get(name, ("data.patch=60",) if recipe.dims == 3 else ())
        return (*ONE_STEP, *SEGMENT, *smaller)
    if name.startswith("small"):
        return ONE_STEP
    if name.startswith("sati"):
        return (*ONE_STEP, *NARROW, "train.batch_size=1", f"data.patch={min(*recipe.patch, 176)}")
    return (*ONE_STEP, *NARROW, *(("data.patch=126",) if recipe.dims == 3 else ()))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Two small volumes with structure, per number of dimensions."""
    folder, made = tmp_path_factory.mktemp("tissue"), {}
    rng = np.random.default_rng(0)
    for dims, shape in ((2, (3, 200, 210)), (3, (128, 130, 127))):
        for domain in ("source", "target"):
            coarse = np.kron(rng.integers(0, 5, [-(-n // 8) for n in shape]), np.ones((8, 8, 8)))
            array = (40 * coarse[tuple(map(slice, shape))] + rng.integers(0, 50, shape)).astype(np.uint8)[None]
            made[dims, domain] = _write(folder / f"{domain}{dims}.zarr", array)
            if domain == "source":
                made[dims, "mask"] = _write(folder / f"mask{dims}.zarr", (array > 150).astype(np.uint8))
    return made


def _write(path, array):
    volume = create_volume(path, shape=array.shape, dtype=np.uint8, voxel_size=(8, 8, 8), unit="nm")
    volume.write(Box.of(volume.spatial), array)
    volume.close()
    return path


def test_the_papers_grid_is_shipped():
    grid = {
        f"paper-{dims}d{patch}{identity}{schedule}"
        for dims in (2, 3)
        for patch in ("", "-158")
        for identity in ("", "-noidentity")
        for schedule in ("", "-cosine")
    }
    assert grid == {name for name in RECIPES if name.startswith("paper-")}
    for name in grid:
        recipe = load_recipe(name)
        assert recipe.dims == (2 if "2d" in name else 3)
        assert recipe.patch == ((158 if "158" in name else 190),) * recipe.dims
        assert recipe.task.lambda_identity == (0 if "noidentity" in name else 0.5)
        assert recipe.task.generator.arguments["levels"] == 5
        assert recipe.task.generator.arguments["norm"] == "tracked"
        assert (recipe.task.ssim_cycle, recipe.task.ssim_forward) == (1.0, 0.01)
        assert (recipe.train.lr, recipe.train.betas, recipe.train.checkpoint_every) == (2e-4, (0.5, 0.999), 5)
        assert recipe.train.epochs == (200 if name in ("paper-2d", "paper-3d") else 100)
        schedule = recipe.train.schedule
        assert (schedule.name, schedule.period) == (("cosine-restarts" if "cosine" in name else "constant"), 20)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("paper")])
def test_the_papers_networks_at_full_size(name):
    recipe = load_recipe(name)
    with torch.device("meta"):
        task = CycleGAN(recipe.task, dims=recipe.dims, channels={"source": 1, "target": 1})
    task.check(recipe.patch)
    generators = networks(task.translations())
    assert set(generators) == {"forward", "backward"}
    for network in generators.values():
        foot = nets.footprint(network)
        assert foot.reach == ((62,) * recipe.dims,) * 2
        assert foot.period == (32,) * recipe.dims
        assert foot.admits(recipe.patch)
        assert _millions(network) == PARAMETERS[recipe.dims][0]
    critics = list(task.players["critics"])
    assert [_millions(critic) for critic in critics] == [PARAMETERS[recipe.dims][1]] * 2


def _millions(module):
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 2)


def test_the_ablations_of_stitching_switch_off_one_adaptation_each():
    full = load_recipe("sati-circles").task
    for name, change in {
        "no-cases": {"cases": "all"},
        "no-encoding": {"encoded": False},
        "no-ramp": {"ramp": False},
        "no-pixels": {"pixels": "none"},
    }.items():
        ablated = load_recipe(f"sati-circles-{name}").task
        assert ablated == full.model_copy(update={"stitching": full.stitching.model_copy(update=change)})


@pytest.mark.parametrize("name", RECIPES)
def test_builds_trains_a_step_and_predicts_a_block(name, volumes, tmp_path):
    recipe = load_recipe(name, shrunk(name))
    source, target = (volumes[recipe.dims, domain] for domain in ("source", "target"))
    if recipe.task.learns_masks:
        target = volumes[recipe.dims, "mask"]
    target = target if any(need.name == "target" and not need.optional for need in recipe.task.needs()) else None
    made = train(recipe, source, target, tmp_path / "run", progress=False)
    (row,) = read_log(made.run / "log.csv")
    assert row["step"] == 1
    assert all(np.isfinite(value) for value in row.values())
    if recipe.task.name == "cyclegan":
        assert ("identity_forward" in row) == (recipe.task.lambda_identity > 0)
    settings = PredictSettings(roi="0:2,3:20,:16", raw=True)
    done = predict(made.run, source, tmp_path / "out.zarr", settings)
    assert done.voxels == 2 * 17 * 16
    block = open_volume(tmp_path / "out.zarr").read(Box.of((2, 17, 16)))
    assert np.isfinite(block).all()
    assert np.ptp(block) > 0
