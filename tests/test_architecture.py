"""What docs/architecture.md claims is so: the floors, the files that an addition touches, and what picks it up."""

import ast
import functools
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import vol2vol
from vol2vol import losses, nets
from vol2vol.cli import VERBS
from vol2vol.metrics.measures.catalogue import MEASURES
from vol2vol.tasks import TASKS
from vol2vol.volumes.readers import READERS

HOUSE = Path(vol2vol.__file__).parent
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAME = r"([a-z_]+)(?:/|\.py)"


def section(title):
    """Return the text below a heading that begins so."""
    return re.search(rf"^## {title}[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S).group(1)


def picture():
    """Return the rooms and modules of the picture of floors, each with its floor."""
    floors, floor = {}, 0
    for line in re.search(r"```\n(.*?)```", section("Floors"), re.S).group(1).splitlines():
        number, names = re.match(r"(\d?)\s*(.*?)(?:\s{2,}|$)", line).groups()
        floor = int(number or floor)
        floors |= dict.fromkeys(re.findall(NAME, names), floor)
    return floors


def additions():
    """Return what each line of "To add something" says, by the kind of thing."""
    lines = re.findall(r"\*\*an? ([\w ]+?)\*\*:(.*?)(?=\*\*an? |\n\n|\Z)", section("To add something"), re.S)
    return {kind: " ".join(text.split()) for kind, text in lines}


def test_the_picture_shows_the_floors_that_are_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c.get("containers") == ["vol2vol"])
    checked = {name: depth for depth, layer in enumerate(contract["layers"]) for name in layer.split(" | ")}
    shown = picture()
    assert shown.keys() == checked.keys()
    assert all(checked[a] < checked[b] for a in shown for b in shown if shown[a] > shown[b])
    assert max(shown.values()) - min(shown.values()) + 1 == len({*shown.values()})


def test_the_picture_shows_every_room():
    rooms = {path.stem for path in HOUSE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} == picture().keys()


@pytest.mark.parametrize("name", sorted({*re.findall(r"`([\w./-]*(?:/|\.(?:py|md|yaml)))`", PAGE)}))
def test_every_file_that_the_page_names_is_there(name):
    assert any((place / name).exists() for place in (ROOT, HOUSE, HOUSE / "prediction", ROOT / "docs"))


@pytest.mark.parametrize("kind", additions())
def test_names_in_capitals_stand_in_a_file_that_the_same_line_names(kind):
    text = additions()[kind]
    files = [HOUSE / name for name in re.findall(r"`([\w/]+\.py)`", text)]
    folders = [HOUSE / name for name in re.findall(r"`([\w/]+/)`", text)]
    assert files or folders
    code = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    for name in re.findall(r"`([A-Z]\w+)`", text):
        files_in = [file.read_text(encoding="utf-8") for folder in folders for file in folder.glob("*.py")]
        assert re.search(rf"\b{name}\b", code + "".join(files_in)), (kind, name)


def test_the_page_has_a_line_for_each_kind_of_thing():
    kinds = {"strategy", "network", "task", "loss", "file format", "recipe", "measure", "study", "verb"}
    assert kinds <= additions().keys()
    groups = {*re.findall(r"`(vol2vol\.[a-z]+)`", section("To add something"))}
    assert groups == {each.group for each in (nets.CATALOGUE, losses.PAIRED, TASKS, READERS, MEASURES)}


@functools.cache
def imports():
    """Return what each file of the house imports, as dotted names."""
    imported = {}
    for path in HOUSE.rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                names |= {f"{origin}{name.name}" for name in node.names}
        imported[path.relative_to(HOUSE).as_posix()] = names
    return imported


def importers(module, thing):
    """Return the files of the house that import a thing of a module, or the module as a whole."""
    return {file for file, names in imports().items() if names & {module, f"{module}.{thing}"}}


def one_file_and_a_line(module, thing, room):
    """Assert that a thing is known to its room alone, the catalogue among it: adding one touches nothing else."""
    known_to = importers(module, thing)
    assert f"{room}/catalogue.py" in known_to
    assert not {path for path in known_to if not path.startswith(f"{room}/")}


@pytest.mark.parametrize("name", ["unet", "resnet", "segmenter", "retouch", "patchgan", "pixel"])
def test_a_network_is_one_file_and_one_line(name):
    network = nets.CATALOGUE[name]
    one_file_and_a_line(network.__module__, network.__name__, "nets")


@pytest.mark.parametrize("name", ["regress", "pix2pix", "denoise"])
def test_a_task_is_one_file_and_one_line(name):
    one_file_and_a_line(TASKS[name].__module__, TASKS[name].__name__, "tasks")
    presets = HOUSE / "recipes" / "presets"
    named = re.compile(rf"task:\s*(?:\{{\s*)?name: {name}\b")
    assert any(named.search(file.read_text(encoding="utf-8")) for file in presets.glob("*.yaml"))


@pytest.mark.parametrize("measure", MEASURES.own.values(), ids=lambda measure: measure.name)
def test_a_measure_is_one_file_and_one_line(measure):
    module = inspect.getmodule(measure.take)
    thing = next(name for name, value in vars(module).items() if value is measure)
    one_file_and_a_line(module.__name__, thing, "metrics/measures")


@pytest.mark.parametrize("name", ["smooth-l1", "pearson"])
def test_the_name_of_a_loss_stands_in_one_file_of_code(name):
    def strings(path):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}

    files = {path.relative_to(HOUSE).as_posix() for path in (HOUSE / "tasks").glob("*.py") if name in strings(path)}
    assert files <= {"tasks/paired.py"}  # which judges by Pearson's correlation, too
    assert name in strings(HOUSE / "losses.py")


def test_a_verb_is_one_file_and_one_line():
    assert {path.name.removesuffix("_.py") for path in (HOUSE / "cli").glob("*_.py")} - {"_", "__main"} >= {*VERBS}
    for verb in VERBS:
        assert importers(f"vol2vol.cli.{verb}_", "run") == set()


@pytest.mark.parametrize(("file", "catalogue"), [("test_tasks", "TASKS"), ("test_footprints", "CATALOGUE")])
def test_the_laws_sweep_the_catalogue(file, catalogue):
    text = (ROOT / "tests" / "laws" / f"{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"\b{catalogue}\b", text)
