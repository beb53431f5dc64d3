"""Tests of patches centred on certain voxels, which are equally likely, counted in one pass and read by blocks."""

import pickle
from dataclasses import dataclass, field
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, ceil_div
from vol2vol.intensity import fixed
from vol2vol.protocol import Need
from vol2vol.recipes import load_recipe
from vol2vol.sampling import STILL, DataSettings, Weight, dataset
from vol2vol.sampling import centres as module
from vol2vol.sampling.centres import MOST, SIDES, Centres, Part, _block
from vol2vol.volumes import Volume


@dataclass
class Memory:
    """An array with the interface of a volume, which counts how often each voxel was read."""

    array: np.ndarray
    side: tuple[int, int, int] = (4, 8, 8)
    path: str = "a folder/mask.tif"
    voxel_size: tuple[float, float, float] = (8.0, 8.0, 8.0)
    sized: bool = True
    unit: str = "nanometer"
    placed: bool = False
    counts: np.ndarray = field(init=False)

    shape = property(lambda self: self.array.shape)
    spatial = property(lambda self: self.array.shape[1:])
    channels = property(lambda self: self.array.shape[0])
    dtype = property(lambda self: self.array.dtype)
    chunks = property(lambda self: (self.channels, *self.side))
    read_padded = Volume.read_padded

    def __post_init__(self):
        self.counts = np.zeros(self.spatial, int)

    def read(self, box):
        assert Box.of(self.spatial).contains(box)
        self.counts[box.slices] += 1
        return self.array[:, *box.slices].copy()


class Rank:
    """A generator that returns known numbers."""

    def __init__(self, rank):
        self.rank = rank

    def integers(self, count):
        assert 0 <= self.rank < count
        return self.rank


def part(volume, box=None, origin=(0, 0, 0)):
    return Part(volume, box or Box.of(volume.spatial), origin)


MASK = Need(name="target", kind="mask")
shapes = st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 7, 13, 31]), st.sampled_from([1, 3, 11, 29]))


@settings(deadline=None, max_examples=40)
@given(st.lists(shapes, min_size=1, max_size=3), st.sampled_from([2, 3]), st.integers(0, 99), st.booleans())
def test_every_voxel_that_counts_is_drawn_once_of_as_many_draws_as_there_are(sizes, dims, seed, parted):
    """With small blocks, the ranks 0, 1, ... give exactly the foreground voxels of all volumes."""
    random = np.random.default_rng(seed)
    volumes = [Memory((random.random((1, *shape)) < 0.2).astype(np.uint16) * 700) for shape in sizes]
    boxes = [Box.of(v.spatial) for v in volumes]
    if parted:
        boxes = [Box(tuple(n // 3 for n in v.spatial), v.spatial) for v in volumes]
    origins = [(-2, 1, 0)] * len(volumes)
    expected = [
        (i, *(int(a) - o for a, o in zip(at, origins[i], strict=True)))
        for i, (volume, box) in enumerate(zip(volumes, boxes, strict=True))
        for at in np.argwhere(volume.array[0]) if Box(tuple(at), tuple(at + 1)) & box == Box(tuple(at), tuple(at + 1))
    ]  # fmt: skip
    parts = [Part(*three) for three in zip(volumes, boxes, origins, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SIDES", {2: (1, 4, 8), 3: (3, 5, 4)})
        if not expected:
            with pytest.raises(BadInput, match=r"is foreground: check the masks, or leave out data\.weights\.target"):
                Centres(Weight(), MASK, parts, dims)
            return
        centres = Centres(Weight(), MASK, parts, dims)
    assert all((volume.counts[box.slices] == 1).all() for volume, box in zip(volumes, boxes, strict=True))
    drawn = [centres.draw(Rank(rank)) for rank in range(len(expected))]
    assert sorted((which, *voxel) for which, voxel in drawn) == sorted(expected)
    again = pickle.loads(pickle.dumps(centres))
    assert again.draw(Rank(0)) == drawn[0]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("shape", [(10_000, 10_000, 10_000), (1, 400_000, 300_000), (2_000_000, 300, 300), (3, 5, 7)])
def test_there_are_never_more_than_a_million_blocks(dims, shape):
    block = _block([shape], SIDES[dims])
    count = prod(map(ceil_div, shape, block))
    assert count <= MOST
    assert count > MOST / 4 or block == SIDES[dims]


def test_labels_and_bright_voxels_count_where_they_are_asked_for():
    values = np.zeros((1, 3, 20, 20), np.uint16)
    values[0, 1, 4, 5], values[0, 2, 6, 7], values[0, 0, 1, 1] = 3, 9, 4
    volume = Memory(values)
    some = Centres(Weight(labels=(3, 9)), MASK, [part(volume)], 2)
    assert {some.draw(Rank(i))[1] for i in range(2)} == {(1, 4, 5), (2, 6, 7)}
    assert some.ends[-1] == 2
    image = Need(name="source")
    random = np.random.default_rng(0)
    grey = np.stack([random.permutation(1200).reshape(3, 20, 20), np.full((3, 20, 20), 7)]).astype(np.uint16)
    bright = Centres(Weight(quantile=0.9), image, [part(Memory(grey))], 3)
    assert bright.ends[-1] == pytest.approx(120, abs=1), "a flat channel has nothing above its quantile"
    voxels = [bright.draw(Rank(i))[1] for i in range(int(bright.ends[-1]))]
    assert min(grey[(0, *at)] for at in voxels) >= 1079


@pytest.mark.parametrize(
    ("weight", "need", "words"),
    [
        (
            {},
            Need(name="source"),
            r"data\.weights\.source: source is an image: .* data\.weights\.source\.quantile=0\.95",
        ),
        ({"quantile": 0.5, "labels": (1,)}, Need(name="source"), "which has no labels"),
        ({"quantile": 0.5}, MASK, r"data\.weights\.target\.quantile: target is not an image"),
        (
            {"labels": (5,)},
            MASK,
            r"mask\.tif and 1 more, no voxel has a label of 5: correct data\.weights\.target\.labels",
        ),
        (
            {"quantile": 0.99},
            Need(name="source"),
            r"is above the quantile 0\.99: lower data\.weights\.source\.quantile",
        ),
    ],
)
def test_what_does_not_fit_is_a_line(weight, need, words):
    volumes = [Memory(np.ones((1, 2, 9, 9), np.uint8)) for _ in "ab"]
    with pytest.raises(BadInput, match=words) as caught:
        Centres(Weight(**weight), need, [part(volume) for volume in volumes], 2)
    assert "\n" not in str(caught.value)


def test_negative_masks_are_named():
    with pytest.raises(BadInput, match=r"mask\.tif holds -1"):
        Centres(Weight(), MASK, [part(Memory(np.full((1, 2, 3, 4), -1, np.int16)))], 3)


NEEDS = (Need(name="source"), Need(name="target", kind="mask", along="source"))


def scene(share, patch, planes=("z",), augment=STILL, **options):
    """Return the data set of an image that numbers its voxels and a mask with few voxels, and this mask."""
    shape, random = (9, 60, 70), np.random.default_rng(1)
    mask = (random.random((1, *shape)) < 0.004).astype(np.uint8)
    where = np.arange(prod(shape), dtype=np.uint16).reshape(1, *shape)
    volumes = {"source": [Memory(where)], "target": [Memory(mask)]}
    weights = {"target": Weight(share=share)} if share else {}
    config = DataSettings(planes=planes, background=0, weights=weights, augment=augment, labels={"foreground": 0})
    intensity = {"source": fixed(0, 1), "target": fixed(0, 1)}
    settings = {"patch": patch, "context": ((0,) * len(patch),) * 2, "inputs": {"source"}, **options}
    return dataset(NEEDS, volumes, intensity, config, **settings), mask[0]


@pytest.mark.parametrize("patch", [(11, 9), (3, 11, 9)])
@pytest.mark.parametrize("share", [0.25, 0.8, 1.0])
def test_as_many_patches_as_asked_for_lie_on_a_voxel_that_counts(patch, share):
    (data, _), mask = scene(share, patch)
    around = [1] * (3 - len(patch)) + list(patch)
    inside = mask[tuple(slice(n // 2, size - n // 2) for n, size in zip(around, mask.shape, strict=True))].sum()
    middle = (0, *(n // 2 for n in patch))
    hits = np.mean([float(data[i]["target"][middle]) for i in range(400)])
    assert hits == pytest.approx(share * inside / mask.sum(), abs=0.1)
    if share == 1.0:
        assert all(data[i]["target"].any() for i in range(100)), "near the border, the voxel is in the patch"


def test_centres_near_the_border_give_the_nearest_patch_inside():
    mask, image = np.zeros((1, 4, 30, 30), np.uint8), np.arange(3600, dtype=np.uint16).reshape(1, 4, 30, 30)
    mask[0, 3, 0, 29] = 1
    config = DataSettings(background=0, weights={"target": Weight(share=1)}, augment=STILL, labels={"foreground": 0})
    volumes, intensity = {"source": [Memory(image)], "target": [Memory(mask)]}, {"source": fixed(0, 1)}
    data, _ = dataset(NEEDS, volumes, intensity, config, patch=(7, 8), context=((0, 0), (0, 0)))
    item = data[5]
    assert item["target"][0, 0, 7] == 1
    assert item["target"].sum() == 1


def test_planes_across_every_axis_show_the_voxel():
    (data, _), _ = scene(1.0, (9, 9), planes=("z", "y", "x"))
    items = [data[i]["target"] for i in range(60)]
    assert all(item.any() for item in items)


def test_turned_flipped_and_deformed_patches_stay_near_their_voxel():
    mask = np.zeros((1, 3, 90, 90), np.uint8)
    mask[..., 40:45, 42:47] = 1
    config = DataSettings(
        augment={"zoom": 0.2, "elastic": {"amplitude": 2, "length": 9}}, weights={"target": Weight(share=1)}
    )
    volumes = {name: [Memory(mask)] for name in ("source", "target")}
    data, _ = dataset(NEEDS, volumes, {"source": fixed(0, 1)}, config, patch=(25, 24), context=((0, 0), (0, 0)))
    assert all(data[i]["target"][0, 7:18, 7:18].any() for i in range(60))


def test_what_is_held_out_is_not_counted():
    mask = np.zeros((1, 4, 40, 80), np.uint8)
    mask[..., 75:] = 1
    volumes = {"source": [Memory(mask)], "target": [Memory(mask)]}
    config = DataSettings(background=0, weights={"target": Weight()}, augment=STILL)
    with pytest.raises(BadInput, match=r"in the training part of a folder/mask\.tif, no voxel is foreground"):
        dataset(NEEDS, volumes, {"source": fixed(0, 1)}, config, patch=(9, 9), context=((0, 0), (0, 0)), judged=True)
    mask[0, 1, 5, 7] = 1
    options = {"patch": (9, 9), "context": ((4, 4), (4, 4)), "judged": True}
    data, held_out = dataset(NEEDS, volumes, {"source": fixed(0, 1)}, config, **options)
    centres = data.groups[0].patches.centres
    assert centres.ends[-1] == 1
    assert centres.draw(Rank(0)) == (0, (1, 9, 11)), "counted from the mirrored margin"
    assert sum(float(item["target"].sum()) for item in held_out()) > 0


def test_items_do_not_depend_on_what_was_drawn_before():
    (data, _), _ = scene(0.5, (9, 9))
    items = [data[i]["source"] for i in range(6)]
    (again, _), _ = scene(0.5, (9, 9))
    assert torch.equal(again[4]["source"], items[4])
    assert torch.equal(pickle.loads(pickle.dumps(again))[2]["source"], items[2])


def test_domains_on_their_own_have_centres_too():
    random = np.random.default_rng(0)
    image = random.integers(0, 50, (1, 3, 64, 64)).astype(np.uint8)
    image[0, :, 30:34, 30:34] = 255
    needs = (Need(name="source"), Need(name="target"))
    volumes = {name: [Memory(image)] for name in ("source", "target")}
    config = DataSettings(background=0, weights={"source": {"share": 1, "quantile": 0.995}})
    data, _ = dataset(
        needs, volumes, {n: fixed(0, 255) for n in volumes}, config, patch=(9, 9), context=((0, 0), (0, 0))
    )
    bright = {name: np.mean([float(data[i][name].max()) == 1 for i in range(50)]) for name in ("source", "target")}
    assert bright["source"] == 1
    assert bright["target"] < 0.5


def test_weights_are_given_in_words_of_the_command_line_and_name_a_domain():
    recipe = load_recipe("small-segment-2d", ("data.weights.target.share=0.3", "data.weights.target.labels=[2, 5]"))
    assert recipe.data.weights == {"target": Weight(share=0.3, labels=(2, 5))}
    with pytest.raises(BadInput, match=r"data\.weights\.target\.shar is not a key: did you mean share"):
        load_recipe("small-segment-2d", ("data.weights.target.shar=0.3",))
    config = DataSettings(weights={"nuclei": Weight()})
    with pytest.raises(BadInput, match=r"data\.weights: the task does not have a domain nuclei: use source, target"):
        dataset(NEEDS, {n.name: [] for n in NEEDS}, {}, config, patch=(9, 9), context=((0, 0), (0, 0)))
    volumes = {n.name: [Memory(np.ones((1, 2, 30, 30), np.uint8))] for n in NEEDS}
    config = DataSettings(weights={"source": Weight(quantile=0.5), "target": Weight()})
    with pytest.raises(
        BadInput, match="source and target are drawn at the same place: give weights for one of them only"
    ):
        dataset(NEEDS, volumes, {"source": fixed(0, 1)}, config, patch=(9, 9), context=((0, 0), (0, 0)))


def test_a_voxel_near_the_border_is_in_the_patch_however_far_that_is_zoomed():
    mask = np.zeros((1, 3, 90, 90), np.uint8)
    mask[..., :3, 87:] = 1
    volumes = {name: [Memory(mask)] for name in ("source", "target")}
    config = DataSettings(augment={"zoom": 0.7}, weights={"target": Weight(share=1)}, labels={"foreground": 0})
    data, _ = dataset(NEEDS, volumes, {"source": fixed(0, 1)}, config, patch=(30, 31), context=((0, 0), (0, 0)))
    assert all(data[i]["target"].any() for i in range(60))


@pytest.mark.parametrize("judged", [False, True])
def test_a_mask_that_the_task_does_not_need_only_says_where_patches_lie(judged):
    random = np.random.default_rng(0)
    mask = np.zeros((1, 3, 90, 90), np.uint8)
    mask[:, 1, 40, 20] = 1
    needs = (Need(name="source"), Need(name="target"))
    guide = Need(name="nuclei", kind="mask", along="source")
    volumes = {n.name: [Memory(random.integers(0, 9, mask.shape, dtype=np.uint8))] for n in needs}
    volumes["source"][0].array[:, 1, 40, 20] = 99
    volumes["nuclei"] = [Memory(mask)]
    config = DataSettings(background=0, weights={"nuclei": Weight(share=1)}, augment=STILL)
    options = {"patch": (11, 11), "context": ((3, 3), (3, 3)), "judged": judged, "guides": (guide,)}
    data, _ = dataset(needs, volumes, {n.name: fixed(0, 99) for n in needs}, config, **options)
    items = [data[i] for i in range(8)]
    assert {tuple(item) for item in items} == {("source", "target")}
    assert all(item["source"][0, 5, 5] == 1 for item in items)
    assert len({float(item["target"].sum()) for item in items}) == 8, "the other domain lies anywhere"
    volumes["nuclei"] = [Memory(mask[..., :80])]
    with pytest.raises(BadInput, match="crop one of them"):
        dataset(needs, volumes, {n.name: fixed(0, 99) for n in needs}, config, **options)


def test_recipes_name_masks_of_their_own_as_guides():
    recipe = load_recipe("small-regress-2d", ("data.weights={nuclei: {share: 0.3}, cells: {along: target}}",))
    assert [(need.name, need.kind, need.along) for need in recipe.guides()] == [
        ("nuclei", "mask", "source"),
        ("cells", "mask", "source"),
    ]
    unpaired = load_recipe("small-2d", ("data.weights={cells: {along: target}, source: {quantile: 0.9}}",))
    assert [(need.name, need.along) for need in unpaired.guides()] == [("cells", "target")]
    with pytest.raises(BadInput, match=r"data\.weights\.cells\.along: the task has no domain mask: use source, target"):
        load_recipe("small-2d", ("data.weights.cells.along=mask",)).guides()
