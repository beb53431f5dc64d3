"""A tiny study of phantoms, and its folder after one run; shared by the tests of studies."""

import pytest
import torch

from vol2vol.study import run_study

torch.set_num_threads(1)
TINY = """
name: tiny
domains:
  rat:
    phantom: {look: rat, seed: 2, shape: [56, 96, 96]}
    parts: {train: "0:24", validate: "24:32", test: "32:56"}
  human:
    phantom: {look: human, seed: 3, shape: [56, 96, 96]}
    parts: {train: "0:24", validate: "24:32", test: "32:56"}
pairs: [[rat, human]]
baselines: [identity, histogram, adabn]
translators:
  deep:
    recipe: small-3d
    overrides:
      - data.patch=22
      - task.generator.arguments.levels=1
      - data.calibration=2
      - task.generator.arguments.width=2
      - task.critic.arguments.width=2
      - task.critic.arguments.n_layers=1
      - task.ssim_cycle=0
      - train.epochs=2
      - train.steps_per_epoch=1
      - train.checkpoint_every=1
    strategies: {exact: {tile: 34}, disjoint: {tile: 22}}
segmenters:
  unet:
    recipe: small-segment-2d
    overrides:
      - data.patch=76
      - data.labels.held_out_patches=2
      - data.labels.foreground=0
      - data.calibration=2
      - task.network.arguments.width=2
      - train.epochs=1
      - train.steps_per_epoch=2
      - train.batch_size=1
      - train.ema=0
    seeds: [0]
picks: [{by: structure/lncc, lowest: false, roles: [best]}]
distance: {patches: 40, size: 24, steps: 3, resamples: 10}
judging: {blocks: 8, near: 3, shifts: 3}
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def without_report(monkeypatch):
    """Reports have tests of their own; the fixture `ran` writes one."""
    monkeypatch.setattr("vol2vol.report.write_study_report", lambda folder: folder / "report.html", raising=False)


@pytest.fixture(scope="session")
def ran(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("ran") / "out"
    lines = []
    return run_study(tiny, out, progress=lines.append), lines
