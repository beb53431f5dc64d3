"""Phantoms are pure functions of position; domains share the tissue and differ in its appearance."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol.errors import AlreadyExists
from vol2vol.geometry import Box
from vol2vol.phantoms import DOMAINS, Scene, mask, render, scene_of, write_phantom, write_tissue
from vol2vol.volumes import open_volume

SCENE = Scene(7, mitochondria=0.75)
WHOLE = Box((-9, 13, -30), (31, 77, 50))
RAT, HUMAN = DOMAINS["rat"], DOMAINS["human"]
CLEAN = {name: replace(domain, noise=0.0) for name, domain in DOMAINS.items()}
CUBE = Box((0, 0, 0), (64, 128, 128))


@pytest.fixture(scope="module")
def whole():
    return {name: render(SCENE, domain, WHOLE) for name, domain in DOMAINS.items()} | {"mask": mask(SCENE, WHOLE)}


@pytest.fixture(scope="module")
def cube():
    clean = {name: render(SCENE, domain, CUBE)[0].astype(float) for name, domain in CLEAN.items()}
    return clean | {"mask": mask(SCENE, CUBE)[0] == 1}


axes = [
    st.tuples(st.integers(a, b - 1), st.integers(1, 40)).map(lambda p, b=b: (p[0], min(p[0] + p[1], b)))
    for a, b in zip(WHOLE.start, WHOLE.stop, strict=True)
]


@given(spans=st.tuples(*axes))
@settings(max_examples=20, deadline=None)
def test_any_box_is_a_crop_of_a_larger_one(whole, spans):
    box = Box(*zip(*spans, strict=True))
    part = (slice(None), *box.relative_to(WHOLE.start).slices)
    for name, domain in DOMAINS.items():
        np.testing.assert_array_equal(render(SCENE, domain, box), whole[name][part])
    np.testing.assert_array_equal(mask(SCENE, box), whole["mask"][part])


def test_blocks_of_rendering_leave_no_trace(monkeypatch, whole):
    monkeypatch.setattr("vol2vol.phantoms.appearance.BLOCK", (13, 17, 29))
    np.testing.assert_array_equal(render(SCENE, RAT, WHOLE), whole["rat"])
    np.testing.assert_array_equal(mask(SCENE, WHOLE), whole["mask"])


def test_far_from_the_origin_is_like_near_it():
    far = Box((10**6, -(10**6), 10**6), (10**6 + 20, -(10**6) + 70, 10**6 + 70))
    image = render(SCENE, RAT, far)
    assert 25 < image.std() < 60
    part = Box(tuple(a + 3 for a in far.start), tuple(a + 17 for a in far.start))
    np.testing.assert_array_equal(render(SCENE, RAT, part), image[:, 3:17, 3:17, 3:17])


def test_the_blocks_that_look_up_neurites_do_not_show(cube):
    steps = np.abs(np.diff(cube["rat"], axis=2)).mean((0, 1))
    at_borders = steps[7::8].mean()
    elsewhere = np.delete(steps, np.arange(7, len(steps), 8)).mean()
    assert abs(at_borders / elsewhere - 1) < 0.1


def test_mitochondria_are_where_the_mask_says(cube):
    inside, rest = cube["mask"], ~cube["mask"]
    assert 0.01 < inside.mean() < 0.15
    for name in DOMAINS:
        assert np.median(cube[name][inside]) < np.median(cube[name][rest]) - 20
    bright = cube["rat"] > np.percentile(cube["rat"][rest], 50)
    assert (bright & inside).mean() < 0.1 * inside.mean()


def test_both_domains_show_the_same_tissue(cube):
    assert np.corrcoef(cube["rat"].ravel(), cube["human"].ravel())[0, 1] > 0.8
    other = render(Scene(8, mitochondria=0.75), CLEAN["human"], CUBE)[0].astype(float)
    assert abs(np.corrcoef(cube["rat"].ravel(), other.ravel())[0, 1]) < 0.2


def test_domains_differ_in_contrast_noise_and_sharpness(cube):
    assert cube["rat"].std() > 1.2 * cube["human"].std()
    assert cube["rat"].mean() > cube["human"].mean() + 5
    steps = {name: np.abs(np.diff(cube[name], axis=2)).mean() / cube[name].std() for name in DOMAINS}
    assert steps["rat"] > 1.1 * steps["human"]
    grain = {n: render(SCENE, d, CUBE)[0] - cube[n] for n, d in DOMAINS.items()}
    neighbours = {n: np.corrcoef(g[..., :-1].ravel(), g[..., 1:].ravel())[0, 1] for n, g in grain.items()}
    assert abs(grain["rat"].std() - RAT.noise) < 0.5
    assert abs(grain["human"].std() - HUMAN.noise) < 0.5
    assert abs(neighbours["rat"]) < 0.02
    assert neighbours["human"] > 0.3
    assert abs(np.corrcoef(grain["rat"].ravel(), grain["human"].ravel())[0, 1]) < 0.02


def test_denser_scenes_hold_more_mitochondria():
    shares = [mask(Scene(3, mitochondria=density), CUBE).mean() for density in (0.0, 0.4, 1.0)]
    assert shares[0] == 0
    assert shares[1] < shares[2]
    assert scene_of(RAT, 3).mitochondria > scene_of(HUMAN, 3).mitochondria


def test_a_pair_is_unpaired_and_comes_with_its_answer(tmp_path):
    shape = (9, 40, 70)
    folder = tmp_path / "with space é"
    paths = write_tissue(folder, shape, seed=2, chunks=(8, 16, 32))
    read = {name: open_volume(path).read(Box.of(shape)) for name, path in paths.items()}
    source, target = scene_of(RAT, 4), scene_of(HUMAN, 5)
    np.testing.assert_array_equal(read["source"], render(source, RAT, Box.of(shape)))
    np.testing.assert_array_equal(read["target"], render(target, HUMAN, Box.of(shape)))
    np.testing.assert_array_equal(read["source_in_target"], render(source, HUMAN, Box.of(shape)))
    np.testing.assert_array_equal(read["source_mito"], mask(source, Box.of(shape)))
    with pytest.raises(AlreadyExists):
        write_tissue(folder, shape, seed=2)


def test_an_image_is_a_plane(tmp_path):
    path = write_phantom(tmp_path / "plane.zarr", (1, 33, 47), SCENE, RAT)
    with open_volume(path) as volume:
        assert volume.voxel_size == (10, 10, 10)
        assert volume.unit == "nanometer"
        expected = render(SCENE, RAT, Box((0, 0, 0), (4, 33, 47)))[:, :1]
        np.testing.assert_array_equal(volume.read(Box.of(volume.spatial)), expected)
