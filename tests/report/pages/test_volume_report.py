import re
import shutil
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vol2vol.errors import BadInput, NotFound
from vol2vol.report import Result, read_results, write_report, write_results
from vol2vol.report.figures import pictures
from vol2vol.report.pages import volume_report
from vol2vol.volumes import create_volume

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
COUNT = """<script>addEventListener("load", () => {
  const images = [...document.images], broken = images.filter(i => !(i.complete && i.naturalWidth > 0));
  document.body.dataset.images = images.length; document.body.dataset.broken = broken.length;
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
})</script>"""


class Page(HTMLParser):
    """Elements and text of a page, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="session")
def page(study):
    return Page(write_report(study).read_text(encoding="utf-8"))


def test_page_is_whole_and_needs_nothing_else(study, page):
    assert page.open == []
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert not [a for a in page.all("link") if "href" in a]
    assert "url(" not in (study / "report.html").read_text(encoding="utf-8")
    assert (study / "report.html").stat().st_size < 6e6
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {a["href"][1:] for a in page.all("a")} <= ids


def test_every_image_decodes_and_is_described(page):
    images = page.all("img")
    assert len(images) > 40
    for image in images:
        assert len(image["alt"]) > 10
        kind, _, data = image["src"].partition(";base64,")
        if kind == "data:image/png":
            assert Image.open(BytesIO(b64decode(data))).size[0] > 100
        else:
            assert b"</svg>" in b64decode(data)


def test_every_row_and_number_is_told(study, page):
    text = " ".join(page.text.split())
    for result in read_results(study):
        assert result.strategy in text
    for told in (
        "24 \N{MULTIPLICATION SIGN} 96",
        "\N{MULTIPLICATION SIGN} 8 nm",
        "110 k",
        "3.25",
        "510",
        "420 k",
        "21.5",
        "0.93",
        "seed 7",
        "untranslated",
    ):
        assert told in text, told
    assert "as in a single pass" in text, "exact: step 32, margin 32"
    assert "moves by 8 of 32 voxels from tile to tile" in text, "disjoint and average: step 40"
    assert str((study / "small-2d-exact.zarr").resolve()) in text


def test_residuals_say_which_strategy_has_seams(study):
    (first, _) = pictures.groups(read_results(study))
    assert [result.strategy for result in first.results] == ["exact", "average", "disjoint"]
    sheet = pictures.residual_sheet([pictures.cuts(study, first, "xy")])
    titles = [shown.title for shown in sheet.rows[0]]
    assert titles[:3] == ["A: exact", "B: average", "C: disjoint"]
    means = [float(re.search(r"mean ([\d.]+)", shown.caption)[1]) for shown in sheet.rows[0][3:]]
    assert means[1] > 5 * means[0]
    close = pictures.close_up(pictures.cuts(study, first, "xy"))
    assert re.search(r"relative to elsewhere: average [\d.]+, disjoint [\d.]+$", close.note)
    assert len(close.rows[0]) == 4


def test_compared_images_share_their_grey_range(study):
    (first, _) = pictures.groups(read_results(study))
    sheet = pictures.overview(study, first.reference, [first])
    assert len(sheet.ranges) == 1
    source, translated, answer, target = (
        np.asarray(Image.open(BytesIO(b64decode(shown.source.partition(",")[2]))).convert("L"), float)
        for shown in sheet.rows[0]
    )
    assert source.std() < 0.7 * answer.std(), "the source's weak contrast stays weak"
    np.testing.assert_allclose(translated, answer, atol=12)
    assert target.shape[0] < source.shape[0]


def test_names_are_text_never_markup(tmp_path, make_study):
    name = "<script>alert(1)</script>.zarr"
    folder = make_study(tmp_path, source_name=name)
    rows = read_results(folder)
    rows += [replace(rows[1], model="<b>bold", assembly='"&', output=name, strategy="<img src=x onerror=alert(2)>")]
    write_results(folder, rows)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert not page.all("script")
    assert name in page.text
    assert "<img src=x onerror=alert(2)>" in page.text
    assert all("onerror" not in attrs for _, attrs in page.elements)


def test_other_rows_and_gaps_make_a_report_too(study, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study, folder)
    (folder / "report.html").unlink(missing_ok=True)
    write_results(folder, [Result(output="answer.zarr", strategy="march")])
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert page.open == []
    assert "march" in page.text
    assert "Figure 2" not in page.text
    assert "Loss curves" not in page.text


def test_mistakes(tmp_path, study):
    with pytest.raises(NotFound, match=r"results\.csv is not there"):
        write_report(tmp_path)
    write_results(tmp_path, [Result(output="a.zarr", strategy="untranslated")])
    with pytest.raises(BadInput, match="lists no prediction"):
        write_report(tmp_path)
    write_results(tmp_path, [Result(output="gone.zarr", strategy="exact")])
    with pytest.raises(NotFound, match=r"gone\.zarr"):
        write_report(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_reports_need_no_torch(study):
    code = (
        "import sys; from vol2vol.report import write_report; write_report(sys.argv[1]); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(study)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome found")
def test_a_browser_shows_every_image(page, study, tmp_path):
    with_count = tmp_path / "counted.html"
    text = (study / "report.html").read_text(encoding="utf-8")
    with_count.write_text(text.replace("</body>", COUNT + "</body>"), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync --hide-scrollbars --window-size=1200,4800"
    command = [BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    run = {"capture_output": True, "timeout": 120, "check": True}
    dom = subprocess.run([*command, "--dump-dom", with_count.as_uri()], **run).stdout.decode()
    body = dict(re.findall(r'data-(images|broken|wide)="(\w+)"', dom))
    assert body == {"images": str(len(page.all("img"))), "broken": "0", "wide": "false"}
    shot = tmp_path / "shot.png"
    subprocess.run([*command, f"--screenshot={shot}", (study / "report.html").as_uri()], **run)
    seen = np.asarray(Image.open(shot).convert("L"), float)
    assert seen.shape == (4800, 1200)
    bands = seen[:4500].reshape(9, -1)
    assert (bands.std(axis=1) > 5).all(), "no part of the page is blank"


@pytest.mark.parametrize(
    ("size", "unit", "said"),
    [
        ((16, 8, 8), "nanometer", "16 \N{MULTIPLICATION SIGN} 8 \N{MULTIPLICATION SIGN} 8 nm"),
        ((1, 1, 1), "", "not known"),
    ],
)
def test_a_voxel_size_that_is_not_known_is_not_made_up(size, unit, said, tmp_path):
    create_volume(tmp_path / "a.zarr", shape=(1, 2, 8, 8), dtype=np.uint8, voxel_size=size, unit=unit).close()
    assert volume_report._facts(tmp_path, "a.zarr").voxel == said
