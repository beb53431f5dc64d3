"""Typed paths, and the files that a file may name: none outside its own folder."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr

from vol2vol.errors import BadInput, NotFound
from vol2vol.geometry import Box
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.addresses import absolute, address, is_remote, join, kvstore, local_path, parent, within

STACK = np.random.default_rng(3).integers(0, 60000, (5, 12, 14)).astype(np.uint16)
WHOLE = Box.of(STACK.shape)
UNKNOWN = ["azure://a/b.zarr", "memory://x", "abfs://a@b/c.zarr", "simplecache::s3://b/k.zarr", "ftp://h/x.zarr"]


@pytest.mark.parametrize("name", [*UNKNOWN, "gs:/b/k.zarr", "s3:b/k.zarr", "memory:", "azure:x", "file://host/x.zarr"])
def test_an_unknown_scheme_becomes_no_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    about = {"voxel_size": (1, 1, 1), "unit": "nm"}
    with pytest.raises(BadInput, match=r"scheme|two slashes|another machine"):
        open_volume(name)
    for output in (name, f"{name}/out.zarr", f"{name}/out.tif"):
        with pytest.raises(BadInput, match=r"scheme|two slashes|another machine"):
            create_volume(output, shape=(1, 4, 4, 4), dtype="u1", **about)
    with pytest.raises(BadInput):
        is_remote(name)
    with pytest.raises(BadInput):
        local_path(name, "a model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_file_address_is_the_local_path(tmp_path, suffix):
    place = tmp_path / f"a b{suffix}"
    volume = create_volume(
        f"file://{tmp_path}/a%20b{suffix}", shape=(1, *STACK.shape), dtype="u2", voxel_size=(1, 1, 1), unit="nm"
    )
    volume.write(WHOLE, STACK[None])
    volume.close()
    assert place.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [place.name]
    for name in (f"file://{tmp_path}/a%20b{suffix}", f"FILE://localhost{tmp_path}/a%20b{suffix}", f"file:{place}"):
        np.testing.assert_array_equal(open_volume(name).read(WHOLE)[0], STACK)
        assert absolute(name) == str(place)


def test_what_is_no_scheme_stays_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.zarr", "a.h5:/raw", "a.h5://raw", "a:b/c.zarr", "", "./s3/x.zarr", "C:/data/x.zarr", "C:\\x.zarr"):
        assert address(name) == name
    assert address("S3://Bucket/Key.zarr") == "s3://Bucket/Key.zarr"
    Path("gs:").mkdir()
    assert not is_remote("gs:/a.zarr"), "a folder of that name is there"


def test_a_bucket_of_google_is_what_tensorstore_reads():
    spec = kvstore("gs://my-bucket/deep/em.zarr")
    assert spec == {"driver": "gcs", "bucket": "my-bucket", "path": "deep/em.zarr/"}
    assert ts.KvStore.Spec(spec).url == "gs://my-bucket/deep/em.zarr/"
    assert kvstore("gs://my-bucket")["path"] == ""
    assert join("gs://my-bucket/em.zarr", "0") == "gs://my-bucket/em.zarr/0"
    assert (parent("gs://my-bucket/em.zarr"), parent("gs://my-bucket")) == ("gs://my-bucket", "")
    assert absolute("gs://my-bucket/em.zarr") == "gs://my-bucket/em.zarr"
    with pytest.raises(BadInput, match="names no bucket"):
        kvstore("gs://")
    with pytest.raises(BadInput, match="a model must be on this machine: download it"):
        local_path("gs://my-bucket/model", "a model")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "..\\x", "C:\\x", "\\\\host\\x", "s3://b/k", "a\0b"])
def test_nothing_outside_the_folder_is_named(tmp_path, name):
    with pytest.raises(BadInput, match="outside its folder"):
        within(tmp_path, name)


def test_links_may_not_lead_out_of_the_folder(tmp_path):
    home, away = tmp_path / "home", tmp_path / "away"
    (home / "deep").mkdir(parents=True)
    away.mkdir()
    (away / "x").touch()
    os.symlink(away / "x", home / "link")
    os.symlink(away, home / "folder")
    os.symlink(home / "deep", home / "within")
    for name in ("link", "folder/x", "folder/new"):
        with pytest.raises(BadInput, match="outside its folder"):
            within(home, name)
    assert within(home, "within/x") == str(home / "within" / "x")
    os.symlink(home, tmp_path / "alias")
    assert within(tmp_path / "alias", "deep") == str(tmp_path / "alias" / "deep")


def image(tmp_path, path):
    group = zarr.open_group(tmp_path / "em.zarr", mode="w")
    array = group.create_array("0", shape=STACK.shape, dtype="u2", chunks=STACK.shape)
    array[...] = STACK
    secret = zarr.create_array(
        tmp_path / "secret.zarr", overwrite=True, shape=STACK.shape, dtype="u2", chunks=STACK.shape
    )
    secret[...] = 7
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    level = {"path": path, "coordinateTransformations": scale}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    return tmp_path / "em.zarr"


def test_a_level_lies_in_its_image(tmp_path):
    np.testing.assert_array_equal(open_volume(image(tmp_path, "0")).read(WHOLE)[0], STACK)
    for path in ("../secret.zarr", str(tmp_path / "secret.zarr"), "0/../../secret.zarr"):
        with pytest.raises(BadInput, match=r"secret\.zarr'?, which lies outside its folder"):
            open_volume(image(tmp_path, path))
    os.symlink(tmp_path / "secret.zarr", tmp_path / "em.zarr" / "1")
    with pytest.raises(BadInput, match="names '1', which lies outside"):
        open_volume(image_named(tmp_path / "em.zarr", "1"))


def image_named(folder, path):
    text = json.loads((folder / "zarr.json").read_text())
    text["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path
    (folder / "zarr.json").write_text(json.dumps(text))
    return folder


def test_a_list_of_arrays_names_none_outside(tmp_path):
    folder = image(tmp_path, "0")
    meta = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    listed = {"kind": "inline", "must_understand": False, "metadata": {"../secret.zarr": {"node_type": "array"}}}
    (folder / "zarr.json").write_text(json.dumps({**meta, "consolidated_metadata": listed}))
    with pytest.raises(BadInput, match=r"names '\.\./secret\.zarr', which lies outside its folder"):
        open_volume(folder)


def ome_file(path, parts):
    """Write a plane whose OME-XML says that the image lies in these files: name, UUID."""
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{uuid}</UUID></TiffData>'
        for z, (name, uuid) in enumerate(parts)
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:self"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="14" SizeY="12" SizeZ="{len(parts)}" '
        'SizeC="1" SizeT="1" PhysicalSizeX="1" PhysicalSizeY="1" PhysicalSizeZ="1"><Channel ID="Channel:0"/>'
        f"{data}</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, STACK[0], description=xml, metadata=None, photometric="minisblack")


def test_an_image_whose_plane_lies_in_another_file_is_read_from_there(tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", STACK[1], metadata=None, description="x" * 3000)
    ome_file(tmp_path / "a.ome.tif", [("b.tif", "b")])
    volume = open_volume(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK[1:2])
    ome_file(tmp_path / "c.ome.tif", [("c.ome.tif", "self"), ("b.tif", "b")])
    volume = open_volume(tmp_path / "c.ome.tif")
    np.testing.assert_array_equal(volume.read(Box.of(volume.spatial))[0], STACK[:2])
    before = volume.fingerprint()
    tifffile.imwrite(tmp_path / "b.tif", STACK[2], metadata=None, description="x" * 3000)
    assert open_volume(tmp_path / "c.ome.tif").fingerprint() != before


def test_an_ome_tiff_names_no_file_outside(tmp_path):
    (tmp_path / "home").mkdir()
    tifffile.imwrite(tmp_path / "b.tif", STACK[1])
    for name in ("../b.tif", str(tmp_path / "b.tif")):
        ome_file(tmp_path / "home" / "a.ome.tif", [(name, "b")])
        with pytest.raises(BadInput, match=r"b\.tif', which lies outside its folder"):
            open_volume(tmp_path / "home" / "a.ome.tif")
    ome_file(tmp_path / "home" / "a.ome.tif", [(f"C:\\data\\{tmp_path.name}.tif", "self")])
    assert open_volume(tmp_path / "home" / "a.ome.tif").spatial == (1, 12, 14), "an old name of the file itself"


def test_models_runs_and_recipes_are_local(tmp_path, monkeypatch):
    from vol2vol.cli import main

    monkeypatch.chdir(tmp_path)
    for words in (
        "predict azure://b/m in.zarr out.zarr",
        "predict gs://b-b/m in.zarr out.zarr",
        "train --source a.zarr --target b.zarr --out gs://b-b/run",
        "train --source a.zarr --target b.zarr --recipe azure://r.yaml --out run",
        "info memory://x",
        "work azure://x/out.zarr",
        "certify gs://b-b/model",
        "study azure://x.yaml --out s",
        "study phantom --out gs://b-b/s",
        "prepare azure://a.zarr out.zarr --binarise",
        "demo --out gs://b-b/demo",
    ):
        assert main(words.split()) == 2, words
    assert not list(tmp_path.iterdir())


def test_a_scheme_without_a_volume_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        open_volume(f"file://{tmp_path}/nothing.zarr")


def test_a_relative_path_means_the_folder_of_now(tmp_path, monkeypatch):
    about = {"shape": (1, 4, 4, 4), "dtype": "u1", "voxel_size": (1, 1, 1), "unit": "nm", "overwrite": True}
    for value, name in enumerate(("one", "two", "one")):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        with create_volume("a.zarr", attrs={"n": value}, **about) as volume:
            volume.write(Box.of((4, 4, 4)), np.full((1, 4, 4, 4), value, np.uint8))
            volume.set_attrs({"m": value})
        assert open_volume("a.zarr").attrs == {"n": value, "m": value}
    assert open_volume(tmp_path / "two" / "a.zarr").attrs == {"n": 1, "m": 1}
    assert open_volume(tmp_path / "one" / "a.zarr").read(Box.of((4, 4, 4))).max() == 2


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("s3://cells/a.tif", "end in .zarr: other formats are local"),
        ("gs://cells/a", "end in .zarr: other formats are local"),
        ("http://host/a.zarr", "write to a local path, s3:// or gs://"),
        ("a.mrc", "end in .zarr (OME-Zarr) or .tif"),
    ],
)
def test_outputs_that_cannot_be_written_name_the_cure(name, cure):
    with pytest.raises(BadInput, match=re.escape(f"{name} cannot be written: ") + ".*" + re.escape(cure)):
        create_volume(name, shape=(1, 4, 4, 4), dtype="u1", voxel_size=(1, 1, 1), unit="nm")
