"""The files around the code say what is so: changelog, citation, hooks, hosted tests, oldest releases, typing."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHECKS = re.findall(
    r"^\t\$\(BIN\)/(ruff check|ruff format --check|lint-imports|mypy)", (ROOT / "Makefile").read_text(), re.M
)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_hooks_run_what_the_gate_runs():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    assert sorted(hook["entry"] for hook in hooks[0]["hooks"]) == sorted(CHECKS)
    assert len(CHECKS) == 4
    needed = {target for line in re.findall(r"^test: (.*)$", read("Makefile"), re.M) for target in line.split()}
    assert needed == {"lint", "contract", "types"}


def test_the_gate_reports_coverage_by_room(tmp_path):
    assert re.search(r"^test:.*\n\t.*slipcover --source src/vol2vol.*\\\n\t  -m pytest", read("Makefile"), re.M)
    counts = {"src/vol2vol/a/x.py": (3, 1), "src/vol2vol/a/y.py": (1, 3), "src/vol2vol/losses.py": (9, 1)}
    files = {
        name: {"summary": {"covered_lines": ran, "missing_lines": not_run}} for name, (ran, not_run) in counts.items()
    }
    (tmp_path / "coverage.json").write_text(json.dumps({"files": files}))
    command = [sys.executable, ROOT / ".ci" / "coverage.py", tmp_path / "coverage.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split() for line in printed] == [
        ["50.0", "%", "of", "8", "lines", "a"],
        ["90.0", "%", "of", "10", "lines", "losses.py"],
        ["72.2", "%", "of", "18", "lines", "all", "of", "vol2vol"],
    ]


def test_the_hosted_matrix_has_every_system_python_and_age_of_dependencies():
    job = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]["tests"]
    matrix = job["strategy"]["matrix"]
    assert [system.partition("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"
    ages = {*matrix["dependencies"], *(extra["dependencies"] for extra in matrix["include"])}
    assert ages == {"newest", "oldest"}
    commands = " ".join(step.get("run", "") for step in job["steps"])
    assert all(check in commands for check in (*CHECKS, "pytest", "-c constraints-oldest.txt"))


@pytest.mark.parametrize("needed", PROJECT["dependencies"])
def test_the_oldest_release_that_is_allowed_is_the_one_that_is_tested(needed):
    name, oldest = re.match(r"([\w-]+)>=([\d.]+)", needed).groups()
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", read("constraints-oldest.txt"), re.M))
    assert re.sub(r"(\.0)+$", "", pins[name]) == re.sub(r"(\.0)+$", "", oldest)
    assert re.search(rf"^{name}==", read("constraints.txt"), re.M | re.I)


def test_citation_changelog_and_package_agree_on_the_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert f"## {PROJECT['version']}" in read("CHANGELOG.md")


def test_types_are_shipped():
    assert (files("vol2vol") / "py.typed").is_file()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_files_that_these_pages_name_are_there(page):
    text = read(page)
    named = {
        *re.findall(r"\]\(([^)#:]+)\)", text),
        *re.findall(r"`([\w./-]+/|[\w./-]+\.(?:md|toml|py|yml))`", text),
    }
    assert named
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "src" / "vol2vol" / path).exists(), path
    for target in re.findall(r"make (\w+)", text):
        assert re.search(rf"^{target}:", read("Makefile"), re.M), target
