"""The report of a study opens whatever there is of it."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.report.browsing import BROWSER, COUNT, Page
from tests.report.synthetic import FID, add_failed, add_volumes, write

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.report import write_study_report
from vol2vol.report.rows.rows import Row, Value, append_row, read_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    study = add_volumes(write(tmp_path_factory.mktemp("a study ü") / "a b"))
    add_failed(study)
    write_study_report(study)
    return study


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_page_is_whole_and_needs_nothing_else(page):
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    images = page.all("img")
    assert len(images) > 40
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)


def test_page_answers_first(page):
    text = " ".join(page.text.split())
    assert text.index("What was done") < text.index("Overlap with the truth: untranslated")
    for wanted in (
        "23 trials done",
        "1 failed",
        "the best trained translation, flat (exact, slices), reaches IoU 0.6",
        "seams are detected in average, disjoint; none in exact",
        "the disk is <b>full</b>",  # as text
        "Tables 3 to 11",
    ):
        assert wanted in text, wanted
    anchors = {element["href"][1:] for element in page.all("a") if element["href"].startswith("#")}
    assert anchors <= {attrs.get("id") for _, attrs in page.elements}


def test_tables_are_there_as_csv(folder):
    names = {path.stem for path in (folder / "tables").iterdir()}
    assert names >= {
        "baselines-and-bound",
        "contrasts",
        "seams",
        "near-seams",
        "agreement",
        "picks",
        "cost",
        "table-1",
        "table-2",
        "tables-3-11",
    }
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.parametrize("few", [1, 2, 5, 6, 7])
def test_half_finished_studies_open(tmp_path, few):
    page = Page(write_study_report(write(tmp_path / "s", few=few)).read_text(encoding="utf-8"))
    assert page.open == []
    assert f"{few} trial" in page.text


def test_failed_studies_open(tmp_path):
    add_failed(tmp_path, reason="")
    text = write_study_report(tmp_path).read_text(encoding="utf-8")
    assert "The reason was not recorded." in text
    assert "0 trials done" in text


def test_words_of_others_are_escaped(tmp_path):
    evil = '<script>alert("x")</script>'
    row = Row(
        trial="t", source=evil, target="b", translator=evil, strategy=evil, checkpoint=1, seed=0, volume=evil,
        values={FID: Value(value=3.0), "seams/sgr/z": Value(value=2.0), "cost/seconds": Value(value=1.0)},
        notes={"seams": evil, "seams/verdict": evil},
    )  # fmt: skip
    append_row(tmp_path, row)
    append_row(tmp_path, replace(row, trial="u", status="failed", reason=evil))
    (tmp_path / "study.yaml").write_text(f"name: '{evil}'\nabout: '{evil}'\n")
    page = Page(write_study_report(tmp_path).read_text(encoding="utf-8"))
    assert not page.all("script")
    assert evil in page.text


def test_numbers_need_no_volumes(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "s", ignore=shutil.ignore_patterns("volumes", "domains", "segmentations"))
    page = Page(write_study_report(tmp_path / "s").read_text(encoding="utf-8"))
    assert "Overlap with the truth: untranslated" in page.text
    assert not [element for element in page.all("img") if element["src"].startswith("data:image/png")]


def test_a_damaged_volume_leaves_pictures_out(folder, tmp_path, caplog):
    shutil.copytree(folder, tmp_path / "s")
    for path in (tmp_path / "s" / "volumes").glob("*/**/zarr.json"):
        path.write_text("{")
    page = Page(write_study_report(tmp_path / "s").read_text(encoding="utf-8"))
    assert "Overlap with the truth: untranslated" in page.text
    assert "pictures were left out of the report" in caplog.text


def test_nothing_to_report(tmp_path):
    with pytest.raises(NotFound, match="run the study first"):
        write_study_report(tmp_path)
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(BadInput, match="until a trial is done"):
        write_study_report(tmp_path)
    add_failed(tmp_path)
    (tmp_path / "study.yaml").write_text("name: [")
    with pytest.raises(Unreadable, match="is damaged"):
        write_study_report(tmp_path)


def test_no_torch_is_needed(tmp_path):
    write(tmp_path / "s", few=8)
    code = (
        f"import sys; from vol2vol.report import write_study_report; write_study_report({str(tmp_path / 's')!r}); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_load_no_plotting():
    modules = "vol2vol.report.rows.rows, vol2vol.report.rows.checkpoint_roles"
    code = f"import sys, {modules}; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_last_row_of_a_trial_counts(folder):
    rows = read_rows(folder)
    assert len({row.trial for row in rows}) == len(rows)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_all_pictures_and_tables_within_the_page(folder, tmp_path):
    copy = tmp_path / "page.html"
    copy.write_text((folder / "report.html").read_text(encoding="utf-8").replace("</body>", COUNT + "</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [BROWSER, *flags, "--window-size=1000,1000", "--virtual-time-budget=8000", "--dump-dom", copy.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    (body,) = Page(dom.replace("<br>", "")).all("body")
    assert body["data-broken"] == "0"
    assert body["data-wide"] == "false"
    assert body["data-scrolled"] == "0"
