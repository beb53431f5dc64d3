import csv

import pytest

from vol2vol.errors import BadInput, NotFound
from vol2vol.report import Result, read_results, write_results


def test_round_trip_keeps_numbers_words_and_gaps(tmp_path):
    rows = [
        Result(output="a,b ü.zarr", strategy="exact", model='m "x"', seconds=0.1 + 0.2, psnr=None),
        Result(output="b.zarr", strategy="untranslated", pearson=-1.0, peak_memory=1e9),
    ]
    write_results(tmp_path, rows)
    assert read_results(tmp_path) == rows
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_columns_are_read_by_name_whatever_their_order_and_company(tmp_path):
    (tmp_path / "results.csv").write_text("fid,strategy,seconds,output\n3,march,1.5,a.zarr\n")
    (row,) = read_results(tmp_path)
    assert (row.output, row.strategy, row.seconds, row.psnr) == ("a.zarr", "march", 1.5, None)


@pytest.mark.parametrize("text", ["nan", "inf", ""])
def test_numbers_that_are_none_count_as_unknown(tmp_path, text):
    (tmp_path / "results.csv").write_text(f"output,strategy,psnr\na,exact,{text}\n")
    assert read_results(tmp_path)[0].psnr is None


def test_mistakes_name_row_and_cure(tmp_path):
    with pytest.raises(NotFound, match=r"results\.csv is not there"):
        read_results(tmp_path)
    for line, message in (
        ("a.zarr,exact,fast", "row 2 column seconds: 'fast'"),
        ("a.zarr,,1", "row 2 has no strategy"),
    ):
        with (tmp_path / "results.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["output", "strategy", "seconds"], line.split(",")])
        with pytest.raises(BadInput, match=message):
            read_results(tmp_path)


def test_a_short_row_is_a_row_with_gaps(tmp_path):
    (tmp_path / "results.csv").write_text("output,strategy,seconds,run\na.zarr,exact\n")
    assert read_results(tmp_path)[0] == Result(output="a.zarr", strategy="exact")
