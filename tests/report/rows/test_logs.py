import numpy as np
import pytest

from vol2vol.errors import BadInput, NotFound
from vol2vol.report.rows.logs import POINTS, read_curves


def test_totals_terms_and_counter(tmp_path):
    header = "epoch,step,lr,seconds,generators,critics,gan_forward,cycle"
    lines = [header, "1,10,2e-4,1.5,9,0.5,0.4,1", "2,20,2e-4,1,8,0.4,,"]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    curves = read_curves(tmp_path)
    assert curves.counter == "step"
    assert list(curves.totals) == ["generators", "critics"]
    assert list(curves.terms) == ["gan_forward", "cycle"]
    assert curves.at[0] == 10


def test_long_logs_are_thinned_to_means(tmp_path):
    values = np.arange(10 * POINTS)
    (tmp_path / "log.csv").write_text("epoch,loss\n" + "\n".join(f"{v},{v}" for v in values))
    curves = read_curves(tmp_path)
    assert curves.columns["loss"].shape == (POINTS,)
    assert curves.columns["loss"].mean() == pytest.approx(values.mean())


def test_unknown_columns_are_all_shown_and_gaps_allowed(tmp_path):
    (tmp_path / "log.csv").write_text("dice,empty\n0.5,\n,\n")
    curves = read_curves(tmp_path)
    assert list(curves.totals) == ["dice"]
    assert curves.terms == {}
    assert curves.counter == "row"


def test_mistakes(tmp_path):
    with pytest.raises(NotFound, match="name the folder of a training run"):
        read_curves(tmp_path)
    (tmp_path / "log.csv").write_text("epoch,loss\n1,high\n")
    with pytest.raises(BadInput, match="is not a training log"):
        read_curves(tmp_path)
