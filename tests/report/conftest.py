"""A study folder made of small synthetic volumes whose seams are known."""

import csv

import pytest
from tests.report.small_volumes import SHAPE, attributes, plan, save, texture, tiles

from vol2vol.report import UNTRANSLATED, Result, write_results


def save_log(run, epochs=30):
    run.mkdir(parents=True)
    with (run / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "lr", "seconds", "generators", "critics", "gan_forward", "cycle"])
        for epoch in range(1, epochs + 1):
            writer.writerow([epoch, epoch * 10, 2e-4, 1.5, 9 / epoch + 1, 0.5 - 0.2 / epoch, 0.4, 1 / epoch])


def build(folder, source_name="source.zarr"):
    folder.mkdir(parents=True, exist_ok=True)
    scene = texture(0)
    (folder / source_name).parent.mkdir(parents=True, exist_ok=True)
    save(folder / source_name, 60 + scene / 2)
    save(folder / "target.zarr", texture(1, (20, 80, 90)))
    save(folder / "answer.zarr", scene)
    rows = [Result(output=source_name, strategy=UNTRANSLATED, psnr=9.5, pearson=0.61)]
    seams = {"exact": (plan(32, 32), 0.0), "average": (plan(40, 8), 0.1), "disjoint": (plan(40, 0), 1.0)}
    for model in ("small-2d", "other 2D"):
        save_log(folder / "runs" / model)
        for name, (one, strength) in seams.items():
            output = f"{model}-{name}.zarr"
            values = scene + strength * tiles(one.step[1], SHAPE[1])
            save(folder / output, values, attributes(one, period=(32, 32), training={"train": {"seed": 7}}))
            rows.append(
                Result(
                    output=output, strategy=name, model=model, assembly="slices", run=f"runs/{model}",
                    source=source_name, target="target.zarr", answer="answer.zarr",
                    seconds=2.0, voxels_per_second=1.1e5, redundancy=3.25, flops_per_voxel=4.2e5,
                    floor_per_voxel=2.1e5, peak_memory=5.1e8, psnr=21.5, pearson=0.93, difference_from_exact=strength,
                )
            )  # fmt: skip
    write_results(folder, rows)
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return build(tmp_path_factory.mktemp("a study ü"))


@pytest.fixture(scope="session")
def make_study():
    return build
