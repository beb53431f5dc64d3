import pytest
from tests.report.synthetic import FID

from vol2vol.report.rows.conditions import condition, conditions, fid_name, judges, overlap, reference, roles
from vol2vol.report.rows.rows import Row, Value


def row(epoch, fid, strategy="exact", *, kind="network", seed=0, translator="m", **more):
    name = f"{translator}.{seed}.{epoch}.{strategy}"
    values = {} if fid is None else {FID: Value(value=fid)}
    about = {"trial": name, "source": "a", "target": "b", "translator": translator, "kind": kind, "seed": seed}
    return Row(**(about | {"checkpoint": epoch, "strategy": strategy, "assembly": "slices", "values": values} | more))


def chosen(rows, role="best", **how):
    return {row.trial for row in rows if roles(rows, FID, **how).get(row.trial) == role}


def test_all_strategies_share_the_checkpoint_that_the_seamless_one_picks():
    rows = [row(1, 50), row(2, 40), row(3, 60), row(1, 10, "disjoint"), row(2, 70, "disjoint")]
    assert chosen(rows) == {"m.0.2.exact", "m.0.2.disjoint"}
    assert chosen(rows, "worst") == {"m.0.3.exact"}
    assert chosen(rows, lowest=False) == {"m.0.3.exact"}


def test_each_training_picks_for_itself():
    rows = [row(1, 50), row(2, 40), row(1, 30, seed=1), row(2, 40, seed=1)]
    assert chosen(rows) == {"m.0.2.exact", "m.1.1.exact"}


def test_the_rows_own_notes_count_first():
    noted = {"picked": f"worst by label_free/confidence; best by {FID}"}
    rows = [row(1, 50, notes=noted), row(2, 40), row(1, 55, "average", notes=noted)]
    assert chosen(rows) == {"m.0.1.exact", "m.0.1.average"}


def test_conditions_that_were_picked_by_themselves_keep_their_own_checkpoints():
    rows = [row(epoch, None, way, notes={"picked": f"best by {FID}"}) for epoch, way in ((1, "exact"), (2, "disjoint"))]
    rows += [row(2, None), row(1, None, "disjoint")]
    assert chosen(rows) == {"m.0.1.exact", "m.0.2.disjoint"}


def test_without_the_value_the_last_checkpoint_stands():
    assert chosen([row(1, None), row(3, None), row(2, None)]) == {"m.0.3.exact"}
    rows = [row(1, 3), row(2, 2), row(3, 1)]
    assert {entry.trial: role for entry, role in zip(rows, roles(rows, "checkpoint").values(), strict=True)} == {
        "m.0.1.exact": "best",
        "m.0.2.exact": "middle",
        "m.0.3.exact": "worst",
    }


def test_baselines_and_bounds_are_their_own_best_and_come_first():
    rows = [row(1, 5), row(None, None, "", kind="baseline", translator="spectrum")]
    rows += [row(None, 3, "", kind="baseline", translator="identity")]
    rows += [row(None, None, "", kind="bound", translator="in-domain")]
    assert len(chosen(rows)) == 4
    names = [key.name for key in conditions(rows)]
    assert names == ["in-domain", "untranslated", "histogram + spectrum", "m (exact, slices)"]


def test_how_a_baseline_was_tiled_is_no_condition():
    tiled = [row(None, 3, way, kind="baseline", translator="histogram") for way in ("", "exact")]
    assert len({condition(trial) for trial in tiled}) == 1


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["distance/encoder/fid/xy", "distance/inception/fid/xy"], "distance/inception/fid/xy"),
        (["distance/encoder/kid/xy", "distance/encoder/fid/xz"], "distance/encoder/fid/xz"),
        (["seams/sgr/z"], ""),
    ],
)
def test_which_fid_is_shown(names, wanted):
    trial = row(1, None, values={name: Value(value=1.0) for name in names})
    assert fid_name([trial]) == wanted


def test_judges_are_those_that_gave_the_metric():
    values = {f"segmentation/unet/{seed}/iou": Value(value=value) for seed, value in ((0, 0.4), (1, 0.6), (2, None))}
    values |= {
        "segmentation/unet/0/near_seam/against_first": Value(value=1.0),
        "segmentation/net/7/auprc": Value(value=1.0),
    }
    trial = row(1, None, values=values)
    assert judges([trial], "iou") == [("unet", "0"), ("unet", "1"), ("unet", "2")]
    assert overlap(trial) == pytest.approx(0.5)
    assert overlap(trial, "f1") is None


def test_reference_is_the_least_seamed():
    assert reference(["disjoint", "average"]) == "average"
    assert reference(["disjoint", "exact"]) == "exact"
    assert reference(["mine"]) == "mine"
    assert reference([]) == ""
