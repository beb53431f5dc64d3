"""Documentation runs: every block of Python and of commands, in a temporary folder, on tiny data made here.

The blocks of a page run in order in one folder, which holds `rat.zarr`, `human.zarr`, `plain.tif`, a generator of the
reference code and a trained run. Trainings are cut to two steps. A block that cannot run says why in a comment before
it, `<!-- not run: reason -->`; one that neither runs nor says so fails.
"""

import doctest
import inspect
import re
import shlex
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml

import vol2vol
from vol2vol.cli import main
from vol2vol.geometry import Box
from vol2vol.recipes import load_recipe

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
RUNS = ("python", "bash", "console", "sh", "shell", "yaml")
SHORT = ("train.epochs=1", "train.steps_per_epoch=2", "data.calibration=2")


def blocks(page):
    """Return language, code and the reason not to run it, of every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0, f"{page.name} has a fence that does not close"
    return [(match["language"], match["code"], match["reason"]) for match in BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Make what the pages speak of."""
    from tests.cli.test_verbs import reference_weights

    folder, random = tmp_path_factory.mktemp("docs"), np.random.default_rng(0)
    for name in ("rat", "human"):
        coarse = np.kron(random.integers(0, 5, (2, 21, 21)), np.ones((8, 8, 8)))
        array = (40 * coarse + random.integers(0, 50, coarse.shape)).astype(np.uint8)[None]
        volume = vol2vol.create_volume(
            folder / f"{name}.zarr", shape=array.shape, dtype=np.uint8, voxel_size=(8, 8, 8), unit="nm"
        )
        volume.write(Box.of(volume.spatial), array)
        volume.close()
    tifffile.imwrite(folder / "plain.tif", array[0], photometric="minisblack")
    torch.save(reference_weights(), folder / "latest_net_G_A.pth")
    words = ["train", *SHORT, "--source", "rat.zarr", "--target", "human.zarr", "--out", "runs/rat-human"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(words) == 0
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs_or_says_why_not(page, world, tmp_path, monkeypatch, capsys, request):
    shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    if page.name == "README.md":
        shutil.rmtree("runs")
    if page.name == "extending.md":
        request.getfixturevalue("hello")
    monkeypatch.setattr(
        "vol2vol.recipes.training.load_recipe",
        lambda recipe, changes: load_recipe(recipe, tuple(dict.fromkeys((*changes, *SHORT)))),
    )
    names = {"__name__": "__docs__"}
    for language, code, reason in blocks(page):
        if reason is not None:
            assert len(reason.split()) >= 3, f"{page.name}: say why a block is not run"
        elif language == "python":
            exec(compile(code, str(page), "exec"), names)
        elif language == "yaml":
            Path("recipe.yaml").write_text(code)
            load_recipe("recipe.yaml")
            assert yaml.safe_load(code)
        elif language == "toml":
            assert tomllib.loads(code)
        elif language in RUNS:
            _commands(page, code, capsys)
        else:
            assert language in ("", "text", "toml"), (
                f"{page.name}: a block of {language!r} neither runs nor says why not"
            )


def _commands(page, code, capsys):
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if not words:
            continue
        assert words[0] == "vol2vol", f"{page.name}: {line!r} is not run here: say why in a comment before the block"
        code = main(words[1:])
        assert code == 0, (line, capsys.readouterr().err)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target} is not there"


def test_every_verb_and_strategy_is_documented():
    from vol2vol.cli import VERBS
    from vol2vol.plans import WAYS

    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for verb in VERBS:
        assert f"vol2vol {verb}" in text or f"make {verb}" in text, f"no page speaks of vol2vol {verb}"
    for strategy in WAYS:
        assert f"`{strategy}`" in text


@pytest.mark.parametrize("name", [name for name in vol2vol.__all__ if name != "__version__"])
def test_public_names_say_what_they_are(name):
    """L9, in part: each has a docstring, and examples in docstrings run."""
    thing = getattr(vol2vol, name)
    text = inspect.getdoc(thing)
    assert text, f"{name} has no docstring"
    assert text.splitlines()[0].rstrip().endswith((".", ":"))
    if inspect.isclass(thing):
        public = {key: value for key, value in vars(thing).items() if not key.startswith("_") and callable(value)}
        for key, method in public.items():
            inherited = any(inspect.getdoc(getattr(base, key, None)) for base in thing.__mro__[1:])
            assert inspect.getdoc(method) or inherited, f"{name}.{key} has no docstring"
    finder = doctest.DocTestFinder(recurse=True)
    for test in finder.find(thing, name, module=import_module(thing.__module__)):
        if test.examples:
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_public_names_are_all_there():
    assert sorted(vol2vol.__all__) == dir(vol2vol)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vol2vol.nothing
