"""The catalogue: a study is one file, found without being imported."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

from prefront import experiments
from prefront.preferences import models
from prefront.preferences.models.base import PreferenceModel
from prefront.runs.catalogue import EXPERIMENTS, MODELS, find_models, find_modules
from prefront.runs.loading import load_experiment


def test_every_module_that_holds_a_study_is_listed():
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    modules = {name: importlib.import_module(f"prefront.experiments.{name}") for name in names}
    assert set(EXPERIMENTS) == {name for name, module in modules.items() if hasattr(module, "STUDY")}
    for name, entry in EXPERIMENTS.items():
        assert load_experiment(name).title.lower() == f"{entry.summary}.".lower()


def test_every_preference_model_that_can_be_fitted_is_listed():
    classes = [
        member
        for info in pkgutil.iter_modules(models.__path__)
        for member in vars(importlib.import_module(f"{models.__name__}.{info.name}")).values()
        if inspect.isclass(member) and issubclass(member, PreferenceModel) and member.__name__[0] != "_"
    ]
    leaves = {one for one in classes if not any(one in other.__bases__ for other in classes)}
    assert set(MODELS) == {one.__name__ for one in leaves}
    assert not any(inspect.isabstract(one) for one in leaves)
    assert find_models("prefront.preferences.models") == MODELS


def test_a_study_is_added_by_one_file(tmp_path, monkeypatch):
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mazes.py").write_text('"""PPO in mazes.\n\nMore of it.\n"""\nraise ImportError\nSTUDY = 1\n')
    (package / "walks.py").write_text('"""Walks at random."""\nSTUDY: int = 1\n')
    (package / "pieces.py").write_text('"""What both share."""\nNAME = "STUDY"\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = find_modules("house", r"STUDY\b")
    assert {name: (entry.module, entry.summary) for name, entry in found.items()} == {
        "mazes": ("house.mazes", "PPO in mazes"),
        "walks": ("house.walks", "walks at random"),
    }
    (package / "mute.py").write_text("STUDY = 1\n")
    with pytest.raises(ValueError, match=r"mute\.py defines something for the catalogue without a docstring"):
        find_modules("house", r"STUDY\b")


def test_the_catalogue_imports_no_study_and_no_jax():
    script = (
        "import sys, prefront.runs.catalogue as catalogue\n"
        "print([name for name in sys.modules if name == 'jax' or name.startswith('prefront.experiments.')])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"
