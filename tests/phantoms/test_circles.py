"""The benchmark of circles is what the paper says, a pure function of its settings, and is written whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.geometry import Box
from vol2vol.phantoms import Circles, Picture, write_circles
from vol2vol.volumes import open_volume

SMALL = Circles(shape=(61, 83), diameter=12)
BALLS = Circles(shape=(13, 29, 31), diameter=9, sub_pixel=True)


@pytest.fixture(scope="module")
def published():
    return Picture(Circles(), "target", 0)


def test_the_published_image(published):
    box = Box.of((1, 2048, 2048))
    labels = published.labels(box)[0, 0]
    sizes = np.bincount(labels.ravel())[1:]
    assert labels.dtype == np.uint16
    assert len(sizes) == 1000
    assert np.bincount(sizes).argmax() == sizes.max() == 1245  # x^2 + y^2 < 400
    assert 0.29 < (labels > 0).mean() < 0.3
    cut = {*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]} - {0}
    assert 25 < len(cut) < 75
    assert np.bincount(published.colours).min() > 280


def test_colours_are_pure_and_those_of_the_labels(published):
    clean = Picture(Circles(noise="none"), "target", 0)
    box = Box((0, 300, 700), (1, 800, 1100))
    image, labels = clean.coloured(box), published.labels(box)[0]
    assert {*np.unique(image)} == {0, 255}
    expected = np.append(-1, clean.colours)[labels]
    for channel in range(3):
        np.testing.assert_array_equal(image[channel] == 255, expected == channel)
    np.testing.assert_array_equal(clean.white(box)[0] == 255, labels > 0)


def test_noise_has_the_published_moments():
    """Clipped normal noise of 0.22888 of the full scale: measured at the script as 23.3 and 231.8 of 255."""
    picture = Picture(Circles(shape=(512, 512)), "source", 0)
    box = Box.of((1, 512, 512))
    white, labels = picture.white(box)[0], picture.labels(box)[0]
    assert white[labels == 0].mean() == pytest.approx(23.3, abs=0.4)
    assert white[labels > 0].mean() == pytest.approx(231.8, abs=0.4)
    assert (white[labels == 0] > 127.5).mean() == pytest.approx(0.0145, abs=0.002)
    channels = picture.coloured(box).reshape(3, -1).astype(float)
    background = channels[:, labels.ravel() == 0]
    assert np.abs(np.corrcoef([*background, white[labels == 0]]) - np.eye(4)).max() < 0.02


def test_noise_as_the_script_adds_it_is_on_white_images_alone():
    box = Box.of(SMALL.spatial)
    for noise, noisy in (("paper", (True, True)), ("code", (True, False)), ("none", (False, False))):
        picture = Picture(SMALL.model_copy(update={"noise": noise}), "source", 0)
        found = tuple(len(np.unique(image)) > 2 for image in (picture.white(box), picture.coloured(box)))
        assert found == noisy


@pytest.mark.parametrize("how", [SMALL, BALLS])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_box_is_a_crop_of_the_whole(how, data):
    spans = [sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in how.spatial]
    box, picture = Box(*zip(*spans, strict=True)), Picture(how, "test", 3)
    for render in (picture.labels, picture.white, picture.coloured):
        whole = render(Box.of(how.spatial))
        np.testing.assert_array_equal(Picture(how, "test", 3).white(box), picture.white(box))
        np.testing.assert_array_equal(render(box), whole[(slice(None), *box.slices)])


def test_density_is_that_of_the_published_images():
    assert Circles().objects == 1000
    assert Circles(shape=(512, 512), diameter=20).objects == 250
    volume = Circles(shape=(64, 128, 128), diameter=16)
    share = volume.objects * np.pi / 6 * 16**3 / (64 * 128 * 128)
    assert share == pytest.approx(1000 * np.pi * 400 / 2048**2, rel=0.01)
    assert Circles(shape=(5, 5), diameter=40).objects == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (7,)}, "shape"),
        ({"shape": (7, 1)}, "at least 2 voxels"),
        ({"elongation": (1.5, 0.5)}, "lowest and the highest"),
        ({"diameter": 0.5}, "diameter"),
        ({"count": -1}, "count"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, words):
    with pytest.raises(ValidationError, match=words):
        Circles(**change)


@pytest.mark.parametrize("how", [SMALL, BALLS])
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_files_hold_what_is_rendered(tmp_path, how, suffix):
    paths = write_circles(tmp_path, how, images=2, tests=1, suffix=suffix)
    assert {name: len(files) for name, files in paths.items()} == {
        **{"source": 2, "source-labels": 2, "target": 2, "target-labels": 2, "test": 1, "test-labels": 1}
    }
    picture, box = Picture(how, "target", 1), Box.of(how.spatial)
    for name, expected in (("target", picture.coloured(box)), ("target-labels", picture.labels(box))):
        with open_volume(paths[name][1]) as volume:
            np.testing.assert_array_equal(volume.read(box), expected)
            assert volume.attrs["phantom"]["number"] == 1
            assert volume.channel_names[:3] == (
                ("red", "green", "blue") if name == "target" else volume.channel_names[:3]
            )


def test_an_image_is_the_same_whatever_else_is_made(tmp_path):
    few, many = (write_circles(tmp_path / str(n), SMALL, images=n, tests=0) for n in (1, 3))
    for name in few:
        a, b = (open_volume(paths[name][0]) for paths in (few, many))
        np.testing.assert_array_equal(a.read(Box.of(a.spatial)), b.read(Box.of(b.spatial)))


def test_what_is_there_is_kept_and_what_is_foreign_is_not_touched(tmp_path):
    first = write_circles(tmp_path, SMALL, images=1, tests=0)
    before = {path: path.stat().st_mtime_ns for files in first.values() for path in files}
    more = write_circles(tmp_path, SMALL, images=2, tests=1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(more["source"]) == 2
    other = SMALL.model_copy(update={"seed": 1})
    with pytest.raises(AlreadyExists, match=r"0000.zarr exists and shows something else"):
        write_circles(tmp_path, other, images=1, tests=0)
    write_circles(tmp_path, other, images=1, tests=0, overwrite=True)
    with open_volume(first["source"][0]) as volume:
        assert volume.attrs["phantom"]["seed"] == 1


def test_nothing_is_written_of_what_does_not_fit(tmp_path):
    with pytest.raises(BadInput, match="could be placed"):
        write_circles(tmp_path / "new", Circles(shape=(60, 60), diameter=20, count=14), images=1)
    with pytest.raises(BadInput, match="-1 images"):
        write_circles(tmp_path / "new", SMALL, images=-1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_stack_has_the_images_as_planes(tmp_path, suffix):
    apart = write_circles(tmp_path, SMALL, images=3, tests=1)
    stacks = write_circles(tmp_path, SMALL, images=3, tests=1, stack=True, suffix=suffix)
    assert stacks.keys() == apart.keys()
    for name, (path,) in stacks.items():
        with open_volume(path) as volume:
            whole = volume.read(Box.of(volume.spatial))
        planes = [open_volume(one).read(Box.of(SMALL.spatial)) for one in apart[name]]
        np.testing.assert_array_equal(whole, np.concatenate(planes, axis=1))
    assert write_circles(tmp_path, SMALL, images=3, tests=1, stack=True, suffix=suffix) == stacks
    with pytest.raises(AlreadyExists, match="shows something else"):
        write_circles(tmp_path, SMALL, images=2, tests=1, stack=True, suffix=suffix)
    with pytest.raises(BadInput, match="cannot be planes of a stack"):
        write_circles(tmp_path, BALLS, images=2, stack=True)
