"""Many images under one path: which folders are a stack, which a set of images, and which are ambiguous."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from vol2vol.errors import BadInput, NotFound
from vol2vol.recipes.domains import open_domain
from vol2vol.volumes.imagesets import images_under


def fill(folder, names, shape=(11, 13)):
    folder.mkdir(exist_ok=True)
    for name in names:
        pixels = np.random.default_rng(len(name)).integers(0, 250, shape, np.uint8)
        if name.endswith("tif"):
            tifffile.imwrite(folder / name, pixels, photometric="minisblack")
        else:
            Image.fromarray(pixels).save(folder / name)
    return folder


def names_under(path, pattern=None):
    return [p.replace("\\", "/").rpartition("/")[2] for p in images_under(str(path), pattern)]


def test_images_of_different_names_are_each_their_own(tmp_path):
    folder = fill(tmp_path / "photos", ["cat.png", "dog.jpg", "9f3a.png", "b10.png", "b9.png"])
    assert names_under(folder) == ["9f3a.png", "b9.png", "b10.png", "cat.png", "dog.jpg"]
    assert [v.spatial for v in open_domain(folder, voxel_size=(1, 1))] == [(1, 11, 13)] * 5
    assert [v.spatial for v in open_domain(folder, voxel_size=(1, 1, 1), pattern="b{z}.png")] == [(2, 11, 13)]


def test_images_of_different_sizes_are_each_their_own(tmp_path):
    folder = fill(tmp_path / "photos", ["img_1.png", "img_2.png"])
    fill(folder, ["img_3.png"], (20, 9))
    volumes = open_domain(folder, voxel_size=(1, 1))
    assert [v.spatial for v in volumes] == [(1, 11, 13), (1, 11, 13), (1, 20, 9)]


def test_stacks_in_a_folder_are_each_their_own(tmp_path):
    folder = fill(tmp_path / "stacks", ["s1.tif", "s2.tif"], (4, 11, 13))
    assert [v.spatial for v in open_domain(folder, voxel_size=(1, 1, 1))] == [(4, 11, 13)] * 2


def test_images_that_are_numbered_and_alike_are_a_stack(tmp_path):
    folder = fill(tmp_path / "stack", ["z1.png", "z2.png", "z3.png"])
    assert [v.spatial for v in open_domain(folder, voxel_size=(1, 1, 1))] == [(3, 11, 13)]
    assert len(open_domain(f"{folder}/*.png", voxel_size=(1, 1))) == 3
    assert names_under(f"{folder}/z[1]*") == [] if (folder / "z[1]").exists() else True


@pytest.mark.parametrize("names", [["z1.png", "z2.png", "z4.png"], ["c1.png", "c2.png"], ["pos1.png", "pos2.png"]])
def test_images_that_may_be_either_are_asked_about_and_the_answer_works(tmp_path, names):
    folder = fill(tmp_path / "a", names)
    with pytest.raises(BadInput, match=r"; or '.*' for all of them as images of their own") as caught:
        open_domain(folder, voxel_size=(1, 1))
    answer = str(caught.value).rpartition("; or '")[2].partition("'")[0]
    assert len(open_domain(answer, voxel_size=(1, 1))) == len(names)


def test_patterns_of_paths(tmp_path):
    folder = fill(tmp_path / "a", ["a1.png", "a10.png", "a9.png", "b1.png"])
    (folder / "notes.txt").write_text("")
    assert names_under(folder / "a*.png") == ["a1.png", "a9.png", "a10.png"]
    assert names_under(folder / "*") == ["a1.png", "a9.png", "a10.png", "b1.png"]
    with pytest.raises(NotFound, match="fits no file"):
        images_under(str(folder / "c*.png"), None)
    assert images_under("s3://bucket/a*.zarr", None) == ["s3://bucket/a*.zarr"]
    assert images_under(str(tmp_path / "none"), None) == [str(tmp_path / "none")]


def test_hundreds_of_compressed_images_do_not_run_out_of_files(tmp_path):
    resource = pytest.importorskip("resource")
    pixels = np.random.default_rng(1).integers(0, 250, (16, 16), np.uint8)
    for i in range(200):
        tifffile.imwrite(tmp_path / f"im{'ab'[i % 2]}{i}.tif", pixels + i, compression="zlib")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    volumes = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, before[1]))
        volumes = open_domain(tmp_path, voxel_size=(1, 1))
        for _ in range(2):
            read = [v.read_padded(v_box(v)) for v in volumes]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    order = [int("".join(c for c in v.path.rpartition("im")[2] if c.isdigit())) for v in volumes]
    for number, values in zip(order, read, strict=True):
        np.testing.assert_array_equal(values[0, 0], pixels + number)


def v_box(volume):
    from vol2vol.geometry import Box

    return Box.of(volume.spatial)
