"""The recipes of CONTRIBUTING.md, followed to the letter: the files that each names are all that it takes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("envs", "agents", "experiments")
SECTIONS = dict(re.findall(r"^## (Add [^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S))
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def house(tmp_path):
    """A copy of the checkout's packages."""
    for name in ("src", *TOP):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def files(section):
    return re.findall(r"`([^`]+)`", re.search(r"^Files?: (.*)$", SECTIONS[section], re.MULTILINE)[1])


def answer(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(folder):
    return {line.split()[0] for line in answer(folder, "-m", "prefront.cli", "list").splitlines()}


def lint(folder):
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode


def test_an_environment_takes_its_file_and_one_row(house):
    written, changed = files("Add an environment")
    assert (written, changed) == ("envs/orchards.py", "src/prefront/tasks/registry.py")
    example = (ROOT / "examples" / "own_environment.py").read_text()
    (house / written).write_text(
        example[example.index("import gymnasium") : example.index("# %% [markdown]\n# The front")]
    )
    (row,) = BLOCK.findall(SECTIONS["Add an environment"])
    registry = (house / changed).read_text()
    place = registry.index("        EnvironmentEntry(\n", registry.index("\nENVIRONMENTS"))
    (house / changed).write_text(f"{registry[:place]}        {row.strip()},\n{registry[place:]}")
    assert "prefront/Orchards-v0" in listed(house)
    assert lint(house) == 0
    script = (
        "import gymnasium, numpy, prefront; from prefront.testing import check_environment\n"
        "check_environment('prefront/Orchards-v0', steps=20)\n"
        "print(prefront.make('Orchards-v0', cart=0.0).pareto_front()[:, 0].tolist())"
    )
    by_hand = 0.95 ** np.arange(5) * np.array([1, 2, 4, 5, 8])
    np.testing.assert_allclose(eval(answer(house, "-c", script)), by_hand, rtol=1e-6)


@pytest.mark.parametrize(
    ("section", "name", "most"),
    [("Add an agent", "conditioned_ppo", 2), ("Add a preference model", "GeneralPreference", 1),
     ("Add a study", "chosen_outcomes", 1)],
)  # fmt: skip
def test_a_newcomer_takes_the_files_of_its_recipe_and_no_other(house, section, name, most):
    named = files(section)
    assert len(named) <= most
    assert all((ROOT / path).is_file() for path in named)
    product = [path for path in named if path.endswith(".py")]
    assert name in listed(house)
    kept = {path: (house / path).read_text() for path in product}
    for path in product:
        (house / path).unlink()
    assert name not in listed(house)
    # Nothing else knows of it, but for studies that use it.
    word = re.compile(rf"\b({name}|{Path(product[0]).stem})\b")
    users = [path for path in house.rglob("*.py") if word.search(path.read_text())]
    assert all(path.parent.name == "experiments" for path in users), users
    for path, text in kept.items():
        (house / path).write_text(text)
    assert name in listed(house)
    assert lint(house) == 0


def test_a_teacher_takes_a_function():
    (code,) = BLOCK.findall(SECTIONS["Add a teacher"])
    names: dict[str, object] = {}
    exec(code, names)
    assert names["answers"].labels.tolist() == [1.0, 1.0, 1.0]


def test_the_example_of_a_study_is_printed_as_it_stands():
    (code,) = BLOCK.findall(SECTIONS["Add a study"])
    study = (ROOT / "experiments" / "chosen_outcomes.py").read_text()
    for line in code.splitlines():
        field = line.split("  #")[0].strip()
        if not field.startswith("presets"):
            assert field in study, field


def test_the_newcomers_are_small():
    lengths = {"src/prefront/preferences/models/general_preference.py": 60, "agents/conditioned_ppo.py": 200}
    lengths["experiments/chosen_outcomes.py"] = 130
    for path, most in lengths.items():
        assert len((ROOT / path).read_text().splitlines()) <= most
