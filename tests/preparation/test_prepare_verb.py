"""`vol2vol prepare`, its recipes, published volumes by name, and one line for each mistake of a user."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import yaml
from tests.preparation.array_volumes import get, put, tree

import vol2vol
from vol2vol.cli import main
from vol2vol.errors import BadInput, NotFound
from vol2vol.recipes import list_preparations, load_preparation
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.formats import store

SHAPE = (12, 30, 32)


def tissue(dtype="uint8"):
    array = np.zeros(SHAPE, dtype)
    array[2:11, 4:27, 3:30] = np.random.default_rng(0).integers(1, 200, (9, 23, 27))
    return array


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    put(folder / "em.zarr", tissue())
    put(folder / "wide.zarr", tissue("uint16") * 200)
    put(folder / "empty.zarr", np.zeros(SHAPE, np.uint8))
    put(folder / "constant.zarr", np.full(SHAPE, 7, np.uint8))
    put(folder / "odd.zarr", np.where(tissue() == 5, np.nan, tissue()).astype(np.float32))
    put(folder / "done.zarr", tissue())
    (folder / "notes.txt").write_text("not an image")
    tifffile.imwrite(folder / "nosize.tif", tissue(), photometric="minisblack")
    with h5py.File(folder / "data.h5", "w") as file:
        file["em"], file["mask"] = tissue(), tissue()
    for name, text in {
        "typo": "steps: [{step: resample, voxelsize: [8, 8, 8]}]",
        "unknown": "steps: [{step: rotate}]",
        "nameless": "steps: [{voxel_size: [8, 8, 8]}]",
        "key": "step: []",
        "list": "- crop",
        "broken": "steps: [",
        "code": "!!python/object/apply:os.mkdir [sprung]",
        "names": "split: {parts: {../up: 5}}",
        "mixed": "split: {parts: {a: 5, b: 0.2}}",
        "shards": "{chunks: [4, 8, 8], shards: [6, 8, 8]}",
        "no shards": "{ome_version: '0.4', shards: [8, 8, 8]}",
    }.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


BAD = {
    "nothing there": (["em.zar", "out.zarr"], ["em.zar does not exist", "em.zarr"]),
    "text": (["notes.txt", "out.zarr"], ["notes.txt has a format that cannot be read"]),
    "no voxel size": (["nosize.tif", "out.zarr", "--resample", "8,8,8"], ["has no voxel size", "--voxel-size"]),
    "no data set": (["data.h5", "out.zarr"], ["data.h5", "em"]),
    "no format to write": (["em.zarr", "out.n5"], ["out.n5 cannot be written", ".zarr"]),
    "output there": (["em.zarr", "done.zarr"], ["done.zarr exists", "--overwrite"]),
    "output is input": (["em.zarr", "em.zarr", "--overwrite"], ["em.zarr is the input"]),
    "output in input": (["em.zarr", "em.zarr/1.zarr"], ["lies in the input"]),
    "crop of words": (["em.zarr", "out.zarr", "--crop", "middle"], ["crop 'middle'", "0:12,0:30,0:32"]),
    "crop outside": (["em.zarr", "out.zarr", "--crop", "0:13,:,:"], ["crop range '0:13'", "outside 0:12"]),
    "crop of two": (["em.zarr", "out.zarr", "--crop", "0:3,0:3"], ["2 ranges for 3 axes"]),
    "margin alone": (["em.zarr", "out.zarr", "--margin", "3"], ["--margin is an option", "add --crop content"]),
    "background alone": (
        ["em.zarr", "out.zarr", "--background", "0:1"],
        ["--background is an option", "add --crop content"],
    ),
    "margin of a box": (["em.zarr", "out.zarr", "--crop", "0:3,:,:", "--margin", "3"], ["add --crop content"]),
    "method alone": (["em.zarr", "out.zarr", "--method", "area"], ["--method is an option", "add --resample Z,Y,X"]),
    "range alone": (["em.zarr", "out.zarr", "--range", "0:9"], ["--range is an option", "add --dtype"]),
    "slash into HDF5": (["data.h5/em", "out.zarr"], ["data.h5/em does not exist", "data.h5:/em"]),
    "slashes into HDF5": (["data.h5/a/b", "out.zarr"], ["data.h5:/a/b"]),
    "chunks of a TIFF": (
        ["em.zarr", "out.tif", "--chunks", "4,8,8"],
        ["out.tif is a TIFF, which has no chunks", ".zarr"],
    ),
    "shards of a TIFF": (["em.zarr", "out.ome.tiff", "--shards", "4,8,8"], ["which has no shards"]),
    "version of a TIFF": (["em.zarr", "out.tif", "--ome-version", "0.4"], ["which has no ome_version"]),
    "all background": (["empty.zarr", "out.zarr", "--crop", "content"], ["all is background (0 to 0)", "--background"]),
    "background backwards": (
        ["em.zarr", "out.zarr", "--crop", "content", "--background", "9:3"],
        ["9 to 3", "lower one first"],
    ),
    "background of words": (
        ["em.zarr", "out.zarr", "--crop", "content", "--background", "a:b"],
        ["--background", "numbers"],
    ),
    "negative margin": (
        ["em.zarr", "out.zarr", "--crop", "content", "--margin", "-1"],
        ["crop.margin", "greater than"],
    ),
    "voxel size of nothing": (["em.zarr", "out.zarr", "--resample", "8,0,8"], ["resample to 0 along y", "positive"]),
    "negative voxel size": (["em.zarr", "out.zarr", "--resample=-8,8,8"], ["resample to -8 along z", "positive"]),
    "voxel size of words": (["em.zarr", "out.zarr", "--resample", "fine"], ["--resample 'fine'", "8,8,8"]),
    "voxel size of one": (["em.zarr", "out.zarr", "--resample", "8"], ["resample.voxel_size"]),
    "another unit": (
        ["em.zarr", "out.zarr", "--resample", "8000,8000,0.03"],
        ["from 8 to 8000 along z", "unit"],
    ),
    "voxel size infinite": (["em.zarr", "out.zarr", "--resample", "inf,8,8"], ["resample.voxel_size.0", "finite"]),
    "unknown method": (["em.zarr", "out.zarr", "--resample", "9,9,9", "--method", "spline"], ["method", "'cubic'"]),
    "mixed labels": (
        ["em.zarr", "out.zarr", "--mask", "--resample", "9,9,9", "--method", "cubic"],
        ["would mix labels", "majority"],
    ),
    "range of a mask": (
        ["em.zarr", "out.zarr", "--binarise", "--dtype", "uint16", "--range", "0:1"],
        ["change labels"],
    ),
    "ids and above": (["em.zarr", "out.zarr", "--ids", "3", "--above", "4"], ["ids or above, not both"]),
    "ids in halves": (["em.zarr", "out.zarr", "--ids", "3.5"], ["--ids", "whole number"]),
    "no map": (["wide.zarr", "out.zarr", "--dtype", "uint8"], ["convert uint16 to uint8", "--range"]),
    "unknown type": (["em.zarr", "out.zarr", "--dtype", "int7"], ["dtype", "uint8"]),
    "range backwards": (["em.zarr", "out.zarr", "--dtype", "uint8", "--range", "9:3"], ["range 9:3 is empty"]),
    "range of three": (["em.zarr", "out.zarr", "--dtype", "uint8", "--range", "1:2:3"], ["convert.range"]),
    "range of words": (["em.zarr", "out.zarr", "--dtype", "uint8", "--range", "most"], ["convert.range"]),
    "range of a float's type": (
        ["odd.zarr", "out.zarr", "--dtype", "uint8", "--range", "type"],
        ["float32 has no limits"],
    ),
    "range of a constant": (
        ["constant.zarr", "out.zarr", "--dtype", "uint8", "--range", "minmax"],
        ["constant.zarr is 7 throughout"],
    ),
    "range of NaN": (["odd.zarr", "out.zarr", "--dtype", "uint8", "--range", "minmax"], ["odd.zarr", "NaN"]),
    "channel": (["em.zarr", "out.zarr", "--channels", "1"], ["no channel '1', it has one channel, 0"]),
    "split too long": (["em.zarr", "out.zarr", "--split", "a=9,b=9"], ["a 9, b 9 voxels", "12 along z"]),
    "split of too much": (["em.zarr", "out.zarr", "--split", "a=0.9,b=0.9"], ["do not fit"]),
    "split of nothing": (["em.zarr", "out.zarr", "--split", "a=0.01,b=0.9"], ["do not fit", "a 0"]),
    "split of words": (["em.zarr", "out.zarr", "--split", "half"], ["split 'half'", "NAME=SIZE"]),
    "split along w": (["em.zarr", "out.zarr", "--split", "w:a=1"], ["split.axis"]),
    "gap too large": (["em.zarr", "out.zarr", "--split", "a=1,b=1", "--gap", "99"], ["gaps of 99"]),
    "gap without parts": (["em.zarr", "out.zarr", "--gap", "3"], ["--gap is an option of --split", "add --split"]),
    "split of no words": (["em.zarr", "out.zarr", "--split", ""], ["NAME=SIZE"]),
    "mask above nothing": (["em.zarr", "out.zarr", "--above", "nan"], ["binarise.above", "finite"]),
    "background without end": (
        ["em.zarr", "out.zarr", "--crop", "content", "--background=-inf:0"],
        ["crop.background.0", "finite"],
    ),
    "two parts of one name": (["em.zarr", "out.zarr", "--split", "a=0.5,a=0.5"], ["names a twice"]),
    "chunks of no voxel": (["em.zarr", "out.zarr", "--chunks", "0,8,8"], ["chunks.0", "greater than or equal to 1"]),
    "shards backwards": (["em.zarr", "out.zarr", "--shards=8,-8,8"], ["shards.1", "greater than or equal to 1"]),
    "chunks of two": (["em.zarr", "out.zarr", "--chunks", "8,8"], ["chunks"]),
    "no workers": (["em.zarr", "out.zarr", "--workers", "0"], ["--workers 1"]),
    "unknown flag": (["em.zarr", "out.zarr", "--voxels", "8"], ["--voxels"]),
    "unknown recipe": (["em.zarr", "out.zarr", "--recipe", "mitoen"], ["did you mean mitoem"]),
    "recipe and flags": (
        ["em.zarr", "out.zarr", "--recipe", "mitoem", "--binarise"],
        ["--recipe and the options both set steps"],
    ),
    "input of no recipe": (
        ["jrc_hela", "out.zarr", "--recipe", "openorganelle"],
        ["is neither", "jrc_hela-2"],
    ),
    "override of nothing": (["em.zarr", "out.zarr", "split"], ["'split' is not key=value"]),
    "typo": (["em.zarr", "out.zarr", "--recipe", "typo.yaml"], ["voxelsize"]),
    "unknown step": (["em.zarr", "out.zarr", "--recipe", "unknown.yaml"], ["rotate", "'crop'"]),
    "no step named": (["em.zarr", "out.zarr", "--recipe", "nameless.yaml"], ["step"]),
    "wrong key": (["em.zarr", "out.zarr", "--recipe", "key.yaml"], ["step is not a key: did you mean steps"]),
    "a list": (["em.zarr", "out.zarr", "--recipe", "list.yaml"], ["holds no keys"]),
    "broken yaml": (["em.zarr", "out.zarr", "--recipe", "broken.yaml"], ["is not YAML"]),
    "code": (["em.zarr", "out.zarr", "--recipe", "code.yaml"], ["is not YAML"]),
    "part that leads elsewhere": (["em.zarr", "out.zarr", "--recipe", "names.yaml"], ["file name"]),
    "voxels and shares": (["em.zarr", "out.zarr", "--recipe", "mixed.yaml"], ["some parts are in voxels"]),
    "shards": (["em.zarr", "out.zarr", "--recipe", "shards.yaml"], ["multiples of the chunks"]),
    "shards of 0.4": (["em.zarr", "out.zarr", "--recipe", "no shards.yaml"], ["0.4 has no shards"]),
    "recipe for more": (["em.zarr", "out.zarr", "--recipe", "mitoem-annotated"], ["train 400, test 100"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gives_one_line_and_writes_nothing(case, world, capsys, monkeypatch):
    arguments, expected = BAD[case]
    monkeypatch.chdir(world)
    before = tree(world)
    code = main(["prepare", *arguments])
    output = capsys.readouterr().err
    assert code == 2, output
    assert output.startswith("vol2vol: ")
    assert output.count("\n") == 1, output
    assert len(output) < 700, output
    for word in expected:
        assert word in output, (word, output)
    assert tree(world) == before


def test_a_voxel_that_is_not_finite_is_named(world, tmp_path, capsys):
    assert main(["prepare", str(world / "odd.zarr"), str(tmp_path / "a.zarr"), "--resample", "9,9,9"]) == 2
    error = capsys.readouterr().err
    first = tuple(map(int, np.argwhere(tissue() == 5)[0]))
    assert f"odd.zarr holds NaN or infinity at voxel {first}: replace it" in error
    assert "start again with --overwrite" in error
    assert not open_volume(tmp_path / "a.zarr").attrs["preparation"]["complete"]


def test_flags_are_the_steps_of_a_recipe(world, tmp_path, capsys):
    flags = [
        "--crop",
        "content",
        "--resample",
        "16,10,10",
        "--dtype",
        "uint16",
        "--range",
        "0:255",
        "--chunks",
        "4,8,8",
    ]
    assert main(["prepare", str(world / "em.zarr"), str(tmp_path / "a" / "x.zarr"), *flags, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)[str(tmp_path / "a" / "x.zarr")]
    assert summary["shape"] == [1, 5, 18, 22]
    (tmp_path / "mine.yaml").write_text(
        "name: custom\nsteps:\n- {step: crop, box: content}\n- {step: resample, voxel_size: [16, 10, 10]}\n"
        "- {step: convert, dtype: uint16, range: [0, 9]}\nchunks: [4, 8, 8]\n"
    )
    arguments = [
        "prepare",
        str(world / "em.zarr"),
        str(tmp_path / "b" / "x.zarr"),
        "--recipe",
        str(tmp_path / "mine.yaml"),
    ]
    steps = yaml.safe_load((tmp_path / "mine.yaml").read_text())["steps"]
    steps[2]["range"] = [0, 255]
    assert main([*arguments, f"steps={json.dumps(steps)}"]) == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_formats_in(world, tmp_path):
    nosize = [str(world / "nosize.tif"), str(tmp_path / "a.zarr"), "--voxel-size", "8,8,8", "--unit", "nm"]
    assert main(["prepare", *nosize]) == 0
    data = f"{world / 'data.h5'}:/em"
    assert main(["prepare", data, str(tmp_path / "b.tif"), "--voxel-size", "8,8,8", "--unit", "nm"]) == 0
    np.testing.assert_array_equal(get(tmp_path / "a.zarr")[0], tissue())
    np.testing.assert_array_equal(get(tmp_path / "b.tif")[0], tissue())


def n5(location, array, attributes):
    """Write (Z, Y, X) as N5 at a folder or a bucket."""
    kvstore = {"driver": "file", "path": f"{location}/"}
    if str(location).startswith("s3://"):
        kvstore = store.kvstore(str(location))
    metadata = {
        "dimensions": array.shape[::-1],
        "blockSize": [8, 8, 8],
        "dataType": str(array.dtype),
        "compression": {"type": "gzip"},
        **attributes,
    }
    stored = ts.open({"driver": "n5", "kvstore": kvstore, "metadata": metadata, "create": True}).result()
    stored.write(array.transpose()).result()


def test_n5_in(tmp_path):
    n5(tmp_path / "a.n5" / "raw", tissue("uint16"), {"resolution": [4, 4, 5.24], "units": ["nm"] * 3})
    arguments = [str(tmp_path / "a.n5" / "raw"), str(tmp_path / "a.zarr"), "--crop", "content"]
    assert main(["prepare", *arguments]) == 0
    with open_volume(tmp_path / "a.zarr") as stored:
        assert stored.voxel_size == (5.24, 4, 4)
    np.testing.assert_array_equal(get(tmp_path / "a.zarr")[0], tissue("uint16")[2:11, 4:27, 3:30])


@pytest.fixture
def bucket(monkeypatch):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    store._keys.cache_clear()
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="janelia-cosem-datasets", ACL="public-read-write")
    yield "s3://janelia-cosem-datasets"
    server.stop()
    store._keys.cache_clear()


def test_a_published_volume_by_name_through_s3(bucket, tmp_path, capsys):
    """The recipe's own address, in a bucket of that name here; its voxel size is used where the metadata say none."""
    group = f"{bucket}/jrc_hela-2/jrc_hela-2.n5/em/fibsem-uint16"
    n5(f"{group}/s0", tissue("uint16"), {})
    store.write_json(group, "attributes.json", {})
    assert main(["prepare", "jrc_hela-2", str(tmp_path / "a.zarr"), "--recipe", "openorganelle"]) == 0
    assert "crop box=2:11,4:27,3:30" in capsys.readouterr().out
    with open_volume(tmp_path / "a.zarr") as stored:
        assert (stored.voxel_size, stored.unit) == ((10, 10, 10), "nanometer")
        assert stored.spatial == (round(9 * 5.24 / 10), round(23 * 4 / 10), round(27 * 4 / 10))
    put(tmp_path / "same.zarr", tissue("uint16"), voxel_size=(5.24, 4, 4))
    vol2vol.prepare(tmp_path / "same.zarr", tmp_path / "b.zarr", "openorganelle")
    np.testing.assert_array_equal(get(tmp_path / "a.zarr"), get(tmp_path / "b.zarr"))


def test_output_to_s3_continues(bucket, world):
    out = f"{bucket}/out.zarr"
    preparation = {
        "steps": [{"step": "resample", "voxel_size": [16, 10, 10]}],
        "chunks": [2, 8, 8],
        "shards": [2, 8, 8],
    }

    def stop(done, total, voxels):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vol2vol.prepare(world / "em.zarr", out, preparation, progress=stop)
    [prepared] = vol2vol.prepare(world / "em.zarr", out, preparation)
    assert prepared.blocks_before >= 3
    assert open_volume(out).attrs["preparation"]["complete"]
    assert prepared.shape == (1, 6, 24, 26)


def test_shipped_recipes_describe_themselves():
    assert set(list_preparations()) == {"mitoem", "mitoem-annotated", "mitoem-masks", "openorganelle"}
    for name, about in list_preparations().items():
        preparation = load_preparation(name)
        assert preparation.name == name
        assert preparation.about.startswith(about)
        assert len(about) < 200 < len(preparation.about)
        assert preparation.steps


def test_the_recipe_in_the_documentation_is_valid(world, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "preparation.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    preparation = load_preparation(tmp_path / "mine.yaml", ("split={parts: {a: 0.5, b: 0.5}}", "voxel_size=[8, 8, 8]"))
    assert [step.step for step in preparation.steps] == ["crop", "resample", "convert"]
    parts = vol2vol.prepare(world / "nosize.tif", tmp_path / "out.zarr", preparation)
    assert [part.voxel_size for part in parts] == [(30, 30, 30)] * 2


def test_the_recipes_are_listed_and_printed(capsys):
    assert main(["recipes"]) == 0
    listing = capsys.readouterr().out
    assert "openorganelle: " in listing
    assert "small-2d: " in listing
    assert main(["recipes", "mitoem-masks"]) == 0
    assert load_preparation(yaml.safe_load(capsys.readouterr().out)) == load_preparation("mitoem-masks")


def test_mitoem_gives_the_paper_s_volumes(tmp_path, capsys):
    """1000 slices of 4096 x 4096 at 30 x 8 x 8 nm become 1000 x 1092 x 1092; nothing of them is read here."""
    create_volume(
        tmp_path / "rat.zarr", shape=(1, 1000, 4096, 4096), dtype="u1", voxel_size=(30, 8, 8), unit="nm"
    ).close()
    plan, flags = str(tmp_path / "out.zarr"), ["--dry-run", "--json"]
    assert main(["prepare", str(tmp_path / "rat.zarr"), plan, "--recipe", "mitoem", *flags]) == 0
    costs = json.loads(capsys.readouterr().out)
    assert costs[plan]["shape"] == [1, 1000, 1092, 1092]
    assert costs[plan]["voxel size"] == [30, 30, 30]
    assert costs[plan]["bytes of memory"] < 2e9
    assert costs[plan]["bytes read over the input's"] < 1.6
    assert main(["prepare", str(tmp_path / "rat.zarr"), plan, "--recipe", "mitoem-annotated", *flags]) == 0
    costs = json.loads(capsys.readouterr().out)
    assert [costs[str(tmp_path / f"out-{part}.zarr")]["shape"][1] for part in ("train", "test")] == [400, 100]


def test_mitoem_masks(tmp_path):
    ids = np.kron(np.random.default_rng(1).integers(0, 3, (5, 4, 4)), np.ones((1, 15, 15))).astype(np.uint16) * 9
    put(tmp_path / "ids.zarr", ids, voxel_size=(30, 8, 8))
    [prepared] = vol2vol.prepare(tmp_path / "ids.zarr", tmp_path / "mask.zarr", "mitoem-masks")
    mask = get(prepared.output)[0]
    assert mask.shape == (5, 16, 16)
    np.testing.assert_array_equal(mask, (ids[:, 1::15, 1::15] > 0).repeat(4, 1).repeat(4, 2))


def test_python_takes_every_kind_of_recipe(world, tmp_path):
    preparation = load_preparation({"steps": [{"step": "crop", "box": "1:5,:,:"}]}, ("pyramid=false",))
    assert not preparation.pyramid
    vol2vol.prepare(world / "em.zarr", tmp_path / "a.zarr", preparation)
    np.testing.assert_array_equal(get(tmp_path / "a.zarr")[0], tissue()[1:5])
    with pytest.raises(NotFound):
        vol2vol.prepare(world / "em.zarr", tmp_path / "b.zarr", "nowhere")
    with pytest.raises(BadInput, match="recipe of these steps: chunks"):
        vol2vol.prepare(world / "em.zarr", tmp_path / "b.zarr", {"chunks": [1]})
