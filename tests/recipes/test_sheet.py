"""Tests of data sheets: rows of aligned files and their splits; errors are listed by row."""

import contextlib
import os
import sys

import numpy as np
import pytest
import tifffile
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vol2vol import train
from vol2vol.cli import main
from vol2vol.errors import BadInput, Mismatch, NotFound, UserError
from vol2vol.intensity import fixed
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.protocol import Need
from vol2vol.recipes.domains import open_domains
from vol2vol.recipes.sheet import read_sheet
from vol2vol.sampling import DataSettings, dataset
from vol2vol.training.run_folder import read_log

torch.set_num_threads(1)
PAIR = (Need(name="source"), Need(name="target", along="source"))
APART = (Need(name="source"), Need(name="target"))
OPTIONAL = (Need(name="source"), Need(name="target", along="source", optional=True))
RECIPE = {
    "extends": "small-regress-2d",
    "data": {"patch": 30, "calibration": 2, "labels": {"held_out_patches": 4}},
    "task": {"network": {"arguments": {"levels": 2, "width": 2}}},
    "train": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "accelerator": "cpu"},
}


def sheet(folder, *lines, encoding="utf-8", files=("a", "b", "c", "d", "x", "y", "z")):
    """Write a sheet, and empty files of these names in its folder; return the path of the sheet."""
    for name in files:
        (folder / f"{name}.tif").touch()
    path = folder / "data.csv"
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


def refused(path, needs=PAIR):
    """Return the error of a sheet without its path; check that it is a line that starts with the path."""
    with pytest.raises(BadInput) as caught:
        read_sheet(path, needs)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def names(files):
    return {domain: [os.path.basename(path) for path in paths] for domain, paths in files.items()}


def test_rows_are_sets_and_splits_keep_their_order(tmp_path):
    lines = ("target,source,split", "x.tif,b.tif,train", "", "y.tif,a.tif,Validate", ",,", "z.tif,c.tif,train")
    read = read_sheet(sheet(tmp_path, *lines), PAIR)
    assert names(read.files["train"]) == {"source": ["b.tif", "c.tif"], "target": ["x.tif", "z.tif"]}
    assert names(read.files["validate"]) == {"source": ["a.tif"], "target": ["y.tif"]}
    assert read.files["test"] == {}
    assert read.rows == {"train": 2, "validate": 1, "test": 0}
    assert read.facts()["name"] == "data.csv"
    assert read.facts()["sha256"] != read_sheet(sheet(tmp_path, *lines[:4]), PAIR).sha256


def test_paths_count_from_the_sheets_folder(tmp_path, monkeypatch):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a, b.tif").touch()
    (tmp_path / "z.h5").touch()
    path = sheet(tmp_path / "in", "source,target", f'"deep/a, b.tif",{tmp_path}/z.h5:/raw', "s3://b/k.zarr,../z.h5:/c")
    monkeypatch.chdir(tmp_path / "in")
    for given_as in (path, "data.csv"):
        files = read_sheet(given_as, PAIR).files["train"]
        assert os.path.exists(files["source"][0])
        assert files["source"][1] == "s3://b/k.zarr"
        assert files["target"][0] == f"{tmp_path}/z.h5:/raw"


def test_excel_writes_a_mark_before_the_text_and_empty_columns_after_it(tmp_path):
    path = sheet(tmp_path, "source,target,,", "a.tif,x.tif,,", ",,,", encoding="utf-8-sig")
    assert names(read_sheet(path, PAIR).files["train"]) == {"source": ["a.tif"], "target": ["x.tif"]}


def test_cells_of_domains_drawn_alone_may_be_empty(tmp_path):
    path = sheet(tmp_path, "source,target,split", "a.tif,,train", "b.tif,x.tif,train", "c.tif,,validate", ",y.tif,test")
    files = read_sheet(path, APART).files
    assert names(files["train"]) == {"source": ["a.tif", "b.tif"], "target": ["x.tif"]}
    assert names(files["validate"]) == {"source": ["c.tif"]}
    assert names(read_sheet(sheet(tmp_path, "source,target", "a.tif,"), OPTIONAL).files["train"]) == {
        "source": ["a.tif"]
    }


@given(st.lists(st.sampled_from(["train", "validate", "test"]), min_size=1, max_size=9))
def test_every_row_is_in_the_split_that_it_names(tmp_path_factory, splits):
    folder = tmp_path_factory.mktemp("sheet")
    named = [f"{i}" for i in range(len(splits))]
    lines = [f"{i}.tif,{split},{i}t.tif" for i, split in zip(named, splits, strict=True)]
    path = sheet(folder, "source,split,target", *lines, files=[*named, *(f"{i}t" for i in named)])
    if "train" not in splits:
        assert "no rows to train on" in refused(path)
        return
    read = read_sheet(path, PAIR)
    for split in ("train", "validate", "test"):
        mine = [i for i, of in zip(named, splits, strict=True) if of == split]
        expected = {"source": [f"{i}.tif" for i in mine], "target": [f"{i}t.tif" for i in mine]}
        assert names(read.files[split]) == (expected if mine else {})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "has no rows"),
        (["source,target"], "has no rows"),
        (["source,target", ",,", ""], "has no rows"),
        (["source;target,split", "a.tif;x.tif,train"], "has a column 'source;target', which the task does not use"),
        (["source;target", "a.tif,x.tif"], "names no target volumes"),
        (
            ["source,targt", "a.tif,x.tif"],
            "has a column 'targt', which the task does not use: it uses source, target",
        ),
        (["source,target,notes", "a.tif,x.tif,good"], "a column 'notes'"),
        (["source,source", "a.tif,x.tif"], "has 2 columns source: delete all but one"),
        (["source", "a.tif"], "names no target volumes to train on: fill a column target"),
        (["source,target,split", "a.tif,x.tif,train", "b.tif,y.tif,val"], "row 3 has 'val' in the column split"),
        (["source,target,split", "a.tif,x.tif,"], "row 2 has '' in the column split: write train, validate or test"),
        (["source,target,split", "a.tif,x.tif,test"], "has no rows to train on"),
        (["source,target", "a.tif,x.tif", "b.tif,"], "row 3 has no target: fill these cells"),
        (["source,target", "a.tif,x.tif", ",y.tif"], "row 3 has no source"),
        (["source,target", "a.tif,x.tif,y.tif"], "row 2 has a cell in column 3, which has no name"),
        (["source,target", 'a.tif,"x.tif'], "line 2 is not CSV"),
        (
            ["source,target", "a.tif,x.tif", "b.tif,gone.tif"],
            "gone.tif (target): give paths relative to the sheet's folder",
        ),
        (["source,target", "a.tif,x.tif", "", "a.tif,./x.tif"], "row 4 repeats the source and target of row 2"),
        (["source,target", "a.tif,azure://b/x.zarr"], ": row 2, target: azure://b/x.zarr: the scheme azure:// is not"),
        (["source,target,split", "a.tif,x.tif,train", "a.tif,y.tif,test"], "a.tif in row 3 (test) and row 2 (train"),
        (["source,target,split", "a.tif,x.tif,train", "x.tif,y.tif,test"], "x.tif in row 3 (test) and row 2 (train"),
    ],
)
def test_what_does_not_fit_is_named_with_its_row(tmp_path, lines, message):
    assert message in refused(sheet(tmp_path, *lines))


def test_many_mistakes_of_a_kind_are_counted(tmp_path):
    lines = ["source,target", *(f"a{i}.tif,b{i}.tif" for i in range(9))]
    message = refused(sheet(tmp_path, *lines))
    assert "row 2 " in message
    assert "and 13 more" in message
    message = refused(sheet(tmp_path, "source,target", *["a.tif,"] * 7, "a.tif,x.tif"))
    assert "row 6 has no target and 2 more" in message


@given(
    st.one_of(st.binary(max_size=80), st.text('aab.tif/,;"\\n\\r\\tsourcetrainplit:\\0é', max_size=80).map(str.encode))
)
def test_whatever_a_file_holds_it_is_a_sheet_or_a_mistake_that_is_named(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("sheet") / "data.csv"
    for content in (data, b"source,target,split\n" + data):
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            assert read_sheet(path, APART).rows["train"] > 0


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_and_tabs_separate_columns_too(tmp_path, separator):
    lines = (separator.join(cells) for cells in (("source", "target"), ("a,1.tif", "x.tif"), ('"b;2.tif"', "y.tif")))
    files = ["a,1.tif", "b;2.tif", "x.tif", "y.tif"]
    for file in files:
        (tmp_path / file).touch()
    read = read_sheet(sheet(tmp_path, "", *lines), PAIR)
    assert names(read.files["train"]) == {"source": ["a,1.tif", "b;2.tif"], "target": ["x.tif", "y.tif"]}


def test_the_encoding_of_windows_is_read_and_noted(tmp_path, caplog):
    (tmp_path / "ä.tif").touch()
    (tmp_path / "x.tif").touch()
    for encoding in ("utf-8", "utf-8-sig", "cp1252"):
        caplog.clear()
        read = read_sheet(sheet(tmp_path, "source,target", "ä.tif,x.tif", encoding=encoding), PAIR)
        assert names(read.files["train"])["source"] == ["ä.tif"]
        assert bool(caplog.messages) == (encoding == "cp1252")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_other_encodings_are_named(tmp_path, encoding):
    assert "is not text in UTF-8" in refused(sheet(tmp_path, "source,target", "ä.tif,x.tif", encoding=encoding))


def test_a_sheet_that_is_not_there(tmp_path):
    with pytest.raises(NotFound, match=r"gone\.csv does not exist"):
        read_sheet(tmp_path / "gone.csv", PAIR)
    with pytest.raises(BadInput, match="a data sheet must be on this machine"):
        read_sheet("s3://bucket/data.csv", PAIR)
    with pytest.raises(UserError):
        read_sheet(tmp_path, PAIR)


def links(folder):
    """Return other spellings of the path `a.tif` in a folder."""
    os.symlink(folder / "a.tif", folder / "soft.tif")
    os.link(folder / "a.tif", folder / "hard.tif")
    os.symlink(folder, folder / "itself")
    return ["./a.tif", f"../{folder.name}/a.tif", str(folder / "a.tif"), "soft.tif", "hard.tif", "itself/a.tif"]


@pytest.mark.skipif(not hasattr(os, "link") or sys.platform == "win32", reason="links need permissions on Windows")
def test_a_file_in_two_splits_is_found_by_any_spelling(tmp_path):
    sheet(tmp_path)
    for other in links(tmp_path):
        path = sheet(tmp_path, "source,target,split", "a.tif,x.tif,train", f"{other},y.tif,validate")
        assert "has files in two splits: " in refused(path)
        path = sheet(tmp_path, "source,target", "a.tif,x.tif", f"{other},x.tif")
        assert "row 3 repeats" in refused(path)


def test_a_part_of_a_volume_in_another_split_is_found(tmp_path):
    (tmp_path / "v.zarr" / "0").mkdir(parents=True)
    (tmp_path / "v.h5").touch()
    for whole, part in (("v.zarr", "v.zarr/0"), ("v.h5", "v.h5:/raw"), ("v.h5:/em", "v.h5:em"), ("v.zarr/", "v.zarr")):
        path = sheet(tmp_path, "source,target,split", f"{whole},x.tif,train", f"{part},y.tif,test")
        assert "has files in two splits" in refused(path)
    path = sheet(tmp_path, "source,target,split", "v.h5:/em,x.tif,train", "v.h5:/other,y.tif,test")
    assert read_sheet(path, PAIR).rows["test"] == 1


def test_one_target_may_belong_to_several_sources(tmp_path):
    path = sheet(tmp_path, "source,target", "a.tif,x.tif", "b.tif,x.tif")
    assert names(read_sheet(path, PAIR).files["train"])["target"] == ["x.tif", "x.tif"]


def images(folder, splits, size=(40, 44)):
    """Write pairs of images, with values below 100 for train and from 100 for validate, and no images for test."""
    rng, lines = np.random.default_rng(0), ["source,target,split"]
    for i, split in enumerate(splits):
        for name in ("s", "t"):
            pixels = rng.integers(0, 90, size).astype(np.uint8) + (100 if split == "validate" else 0)
            tifffile.imwrite(folder / f"{name}{i}.tif", pixels.astype(np.uint8), photometric="minisblack")
            if split == "test":
                (folder / f"{name}{i}.tif").write_bytes(b"not an image")
        lines.append(f"s{i}.tif,t{i}.tif,{split}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def test_rows_to_validate_are_judged_by_and_no_others(tmp_path):
    files = read_sheet(images(tmp_path, ["train", "validate", "train", "test", "validate"]), PAIR).files
    opened = {split: open_domains(files[split], {}, {}, literal=True) for split in ("train", "validate")}
    grey = {name: fixed(0, 255, network=(0.0, 255.0)) for name in ("source", "target")}
    how = {"patch": (30, 30), "context": ((2, 2), (2, 2)), "judged": True}
    learnt, held_out = dataset(PAIR, opened["train"], grey, DataSettings(), unseen=opened["validate"], **how)
    batches = list(held_out())
    assert len(batches) == 2 * 2 * 2
    for batch in batches:
        assert {name: tuple(part.shape) for name, part in batch.items()} == dict.fromkeys(grey, (1, 1, 30, 30))
        assert min(part.min() for part in batch.values()) >= 100
    assert all(learnt[i][name].max() < 100 for i in range(20) for name in grey)
    whole, _ = dataset(PAIR, opened["train"], grey, DataSettings(), patch=(30, 30), context=((2, 2), (2, 2)))
    for i in range(5):
        assert all(torch.equal(learnt[i][name], whole[i][name]) for name in grey)
    with pytest.raises(BadInput, match="the validation volumes lack the domain target"):
        dataset(PAIR, opened["train"], grey, DataSettings(), unseen={"source": opened["validate"]["source"]}, **how)


def test_a_sheet_trains_and_the_model_remembers_it(tmp_path, capsys):
    path, run = images(tmp_path, ["train", "validate", "train", "test"]), tmp_path / "run"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    words = ["train", "--recipe", tmp_path / "recipe.yaml", "--sheet", path, "--out", run]
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    known = load_bundle(find_bundle(run)).meta["provenance"]
    assert known["sheet"] == read_sheet(path, PAIR).facts()
    assert [fact["name"] for fact in known["volumes"]["target"]] == ["t0.tif", "t2.tif"]
    assert [fact["name"] for fact in known["validate"]["source"]] == ["s1.tif"]
    assert "psnr" in read_log(run / "log.csv")[0]
    images(tmp_path, ["train", "train", "train", "validate"])
    settings = {**RECIPE, "train": {**RECIPE["train"], "epochs": 2}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(Mismatch, match=r"trained on the source volumes s0.tif, s2.tif, now they are s0.tif, s1.tif"):
        train(tmp_path / "recipe.yaml", None, None, run, sheet=path)
    images(tmp_path, ["train", "test", "train", "validate"])
    with pytest.raises(Mismatch, match=r"validated on the source volumes s1.tif, now they are s3.tif"):
        train(tmp_path / "recipe.yaml", None, None, run, sheet=path)


def test_a_sheet_and_volumes_are_too_much(tmp_path):
    path = images(tmp_path, ["train"])
    with pytest.raises(
        BadInput, match="names the volumes of every domain: leave out the sheet, or the volumes of source"
    ):
        train("small-regress-2d", tmp_path / "s0.tif", None, tmp_path / "run", sheet=path)
    assert not (tmp_path / "run").exists()


def test_pairs_of_a_sheet_that_differ_are_listed(tmp_path):
    path = images(tmp_path, ["train", "train", "validate", "validate"])
    for i in (0, 1, 3):
        tifffile.imwrite(tmp_path / f"t{i}.tif", np.zeros((40, 45), np.uint8), photometric="minisblack")
    with pytest.raises(BadInput, match=r"2 of 2 pairs differ: .*t0.tif has .*; .*t1.tif has .*prepare `crop`"):
        train("small-regress-2d", None, None, tmp_path / "run", sheet=path)
    images(tmp_path, ["train", "train"])
    path = images(tmp_path, ["train", "train", "validate", "validate"])
    tifffile.imwrite(tmp_path / "t3.tif", np.zeros((40, 45), np.uint8), photometric="minisblack")
    with pytest.raises(BadInput, match=r"t3.tif has \(1, 40, 45\) voxels, its image .*s3.tif"):
        train("small-regress-2d", None, None, tmp_path / "run", sheet=path)
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_a_sheet_ends_in_one_line(tmp_path, capsys):
    path = images(tmp_path, ["train", "val"])
    words = ["train", "--recipe", "small-regress-2d", "--sheet", str(path), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "row 3 has 'val' in the column split" in message
    assert not (tmp_path / "run").exists()


def test_a_task_without_a_judge_leaves_rows_to_validate_aside(tmp_path, caplog):
    path = images(tmp_path, ["train", "validate"])
    small = (
        "data.patch=30",
        "data.calibration=2",
        "task.loss_region=full",
        "train.epochs=1",
        "train.steps_per_epoch=1",
    )
    networks = ("task.generator.arguments={levels: 2, width: 2}", "task.critic.arguments={width: 2, n_layers: 1}")
    with caplog.at_level("INFO", "vol2vol"):
        train("small-2d", None, None, tmp_path / "run", sheet=path, overrides=(*small, *networks))
    assert "cyclegan has no validation: the validation volumes are not used" in caplog.text
    known = load_bundle(find_bundle(tmp_path / "run")).meta["provenance"]
    assert [fact["name"] for fact in known["volumes"]["source"]] == ["s0.tif"]
