"""The package as it is shipped: the wheel holds every module, all of them import, and importing the core is light."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"src/prefront": "prefront", "envs": "prefront/envs", "agents": "prefront/agents"}
FOLDERS["experiments"] = "prefront/experiments"
LINKS = {"envs", "agents", "experiments"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel made from the source distribution made from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source") / "prefront"
    # The top-level folders of the package and the files beside them; nothing that a build could leave behind.
    for name in ("src", "envs", "agents", "experiments"):
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("dist")
    # Without --sdist or --wheel, the wheel is built from the unpacked source distribution.
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    assert len(list(out.glob("prefront-*.tar.gz"))) == 1
    (path,) = out.glob("prefront-*.whl")
    return path


def shipped():
    """Every module of the four folders, by its path in the wheel."""
    paths = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT / folder)
            if folder != "src/prefront" or relative.parts[0] not in LINKS:
                paths.add(f"{package}/{relative.as_posix()}")
    return paths


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {name for name in names if name.endswith(".py")}
    assert modules == shipped()
    assert len(modules) > 30
    assert "prefront/py.typed" in names
    data = {f"prefront/envs/data/{path.name}" for path in (ROOT / "envs" / "data").iterdir() if path.is_file()}
    assert data <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_every_module_of_the_wheel_imports_outside_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    script = """
import importlib, pkgutil, sys
import prefront
for module in pkgutil.walk_packages(prefront.__path__, "prefront."):
    importlib.import_module(module.name)
for name, module in sys.modules.items():
    if name.partition(".")[0] == "prefront":
        print(name, module.__file__)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    loaded = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert all(path.startswith(str(tmp_path / "site")) for path in loaded.values())
    assert set(loaded) == {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in shipped()}


@pytest.mark.parametrize("module", ["prefront", "prefront.cli", "prefront.runs.folders", "prefront.runs.catalogue"])
def test_importing_the_core_loads_neither_jax_nor_torch(module):
    script = f"import sys, {module}; print(*sorted({{'jax', 'torch', 'flax', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_the_listed_packages_are_all_there_are():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(listed) == {path.rpartition("/")[0].replace("/", ".") for path in shipped()}
