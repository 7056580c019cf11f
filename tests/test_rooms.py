"""The plan of the house: imports run down its rooms, in no circle, and the lint notices whatever breaks it."""

import graphlib
import itertools
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("envs", "agents", "experiments")
LINT = Path(sys.executable).with_name("lint-imports")
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
ROOMS = [room for layer in CONTRACT["layers"] for room in layer.split(" | ")]
CORE = ROOMS[ROOMS.index("cli") :]
LOOSE = {"__init__.py", "cli.py", "testing.py"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the checkout in which imports can be planted."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("src", *TOP):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run([LINT, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True)


def lint_with(folder, module, line):
    """Lints the copy with one more line at the end of a module, made where it is missing."""
    before = module.read_bytes() if module.exists() else None
    module.parent.mkdir(exist_ok=True)
    module.write_bytes((before or b"") + f"\n\n{line}\n".encode())
    try:
        return lint(folder)
    finally:
        module.unlink() if before is None else module.write_bytes(before)


def test_the_house_as_it_stands_is_in_order(copy):
    assert lint(copy).returncode == 0


@pytest.mark.parametrize("room", ["__init__", *CORE])
@pytest.mark.parametrize("line", ["import prefront.agents.cmorl", "def f():\n    from prefront.agents import cmorl"])
def test_an_agent_imported_from_a_room_of_the_core_fails_the_lint(copy, room, line):
    path = copy / "src" / "prefront" / room
    module = next(one for one in sorted(path.rglob("*.py")) if one.stem != "__init__") if path.is_dir() else None
    done = lint_with(copy, module or path.with_suffix(".py"), line)
    assert done.returncode == 1
    assert "prefront.agents" in done.stdout


@pytest.mark.parametrize("upper, lower", list(itertools.pairwise(ROOMS)))
def test_a_room_that_imports_the_one_above_fails_the_lint(copy, upper, lower):
    def some(room):
        path = copy / "src" / "prefront" / room
        names = sorted(one.stem for one in path.glob("*.py") if one.stem != "__init__")
        return f"{room}.{names[0]}" if names else room

    module = copy / "src" / "prefront" / (some(lower).replace(".", "/") + ".py")
    assert lint_with(copy, module, f"import prefront.{some(upper)}").returncode == 1


def test_a_module_that_no_room_holds_fails_the_lint(copy):
    done = lint_with(copy, copy / "src" / "prefront" / "attic.py", '"""A new room."""')
    assert done.returncode == 1
    assert "attic" in done.stdout + done.stderr


def test_the_core_has_three_loose_files():
    assert {path.name for path in (ROOT / "src" / "prefront").glob("*.py")} == LOOSE


def test_no_import_goes_in_a_circle():
    graph = grimp.build_graph("prefront", cache_dir=None)
    upstream = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    list(graphlib.TopologicalSorter(upstream).static_order())
