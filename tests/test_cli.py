"""The command: its help, its answers to mistakes, and what it runs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from prefront.cli import COMMANDS, main
from prefront.runs.catalogue import AGENTS, EXPERIMENTS, MODELS
from prefront.runs.loading import load_experiment
from prefront.runs.stored_settings import settings_from_dict, settings_to_dict
from prefront.tasks.registry import ENVIRONMENTS

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--preset", "smoke", "--fronts.environments", "DeepSeaTreasure", "--fronts.budget", "0.001", "--seeds", "1"]


def answer(capsys, *words):
    """Exit status, standard output and standard error of a command."""
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    return status or 0, shown.out, shown.err


def test_every_command_has_help(capsys):
    status, page, _ = answer(capsys, "--help")
    assert status == 0
    assert all(command in page for command in COMMANDS)
    assert answer(capsys)[1] == page
    for command in COMMANDS:
        status, page, _ = answer(capsys, command, "--help")
        assert status == 0
        assert COMMANDS[command].__doc__.splitlines()[0] in " ".join(page.split())


def test_an_experiments_help_shows_its_settings(capsys):
    status, page, _ = answer(capsys, "run", "pareto_discovery", "--preset", "tuned", "--help")
    assert status == 0
    flat = " ".join(page.split())
    for text in ("--environments", "--budget FLOAT", "--seeds", "--device {cpu,gpu}", "--jobs", "--out"):
        assert text in flat
    assert load_experiment("pareto_discovery").title in flat
    assert "MOMountainCar" in flat  # A default of this preset.


def test_list_names_everything_on_one_line_each(capsys):
    status, page, _ = answer(capsys, "list")
    lines = page.splitlines()
    assert status == 0
    # An agent and the study of it may share a name.
    names = [*ENVIRONMENTS, *AGENTS, *MODELS, *EXPERIMENTS]
    for name in names:
        assert sum(line.split()[:1] == [name] for line in lines) == names.count(name)
    assert len(lines) == 4 + len(names)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rnu"], "Did you mean run"),
        (["run"], "the following arguments are required|Name an experiment|required"),
        (["run", "quickstrat"], "Did you mean quickstart"),
        (["run", "no_such_thing.py"], "no_such_thing.py"),
        (["run", "json.decoder"], "no experiment: it lacks STUDY"),
        (["run", "quickstart", "--preset", "papr"], "Did you mean paper"),
        (["run", "quickstart", "--sedes", "3"], "--seeds"),
        (["run", "quickstart", "--seeds", "0"], "at least 1 seed, got 0"),
        (["run", "quickstart", "--seeds", "many"], "many"),
        (["run", "quickstart", "--jobs", "-1"], "0 or more, got -1"),
        (["run", "quickstart", "--time-limit", "0"], "positive, got 0"),
        (["run", "pareto_discovery", "--environments", "DeepSeaTresure"], "Did you mean DeepSeaTreasure"),
        (["run", "pareto_discovery", "--budget", "-2"], r"positive, got -2\.0"),
        (["run", "pareto_discovery", "--environments", "FruitTree", "FruitTree"], "different"),
        (["claims"], "no complete runs"),
        (["claims", "nothing"], "No run 'nothing'"),
        (["plot", "nothing"], "No run 'nothing'"),
    ],
)
def test_mistakes_are_answered_with_what_to_type(capsys, tmp_path, monkeypatch, words, hint):
    import re

    monkeypatch.chdir(tmp_path)
    status, out, err = answer(capsys, *words)
    assert status == 2
    assert re.search(hint, " ".join((out + err).split()))
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_ledger_is_said_to_be_incomplete(capsys, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    status, _, err = answer(capsys, "claims", "half", "--out", str(tmp_path))
    assert status == 2
    assert "half is not complete" in err


@pytest.mark.skipif(
    any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)), reason="JAX for GPUs is installed"
)
def test_a_missing_gpu_plugin_is_said(capsys):
    status, _, err = answer(capsys, "run", "quickstart", "--device", "gpu")
    assert status == 2
    assert "prefront[cuda]" in err


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_keeps_the_contract_and_loads_no_jax(name):
    study = load_experiment(name).study
    assert "smoke" in study.presets
    published = set(study.presets) & {"paper", "tuned", "published"}
    assert published
    assert all(study.preset_seeds(preset).start >= 1000 for preset in published)  # Settings were chosen on lower seeds.
    for preset, settings in study.presets.items():
        assert settings_from_dict(study.settings_type, settings_to_dict(settings)) == settings
        assert len(study.preset_seeds(preset)) >= 1
        if getattr(settings, "data", None) == "":  # published data that the package does not hold
            with pytest.raises(ValueError, match="--data FOLDER"):
                study.named_cells(settings)
        else:
            assert study.named_cells(settings)
    # A study's statistics are over seeds, or over many tasks, folds or draws of one seed.
    largest = "paper" if "paper" in study.presets else "published"
    settings = settings_to_dict(study.presets[largest])
    units = [settings.get(name, 0) for name in ("mdps", "tasks", "folds", "draws")]
    assert max(len(study.preset_seeds(largest)), *units) >= 3
    script = f"import sys, {EXPERIMENTS[name].module}; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_help_loads_no_jax():
    script = (
        "import sys\nfrom prefront.cli import main\ntry:\n    main(['run', 'quickstart', '--help'])\n"
        "except SystemExit:\n    print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_run_from_its_command_to_its_claims(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = answer(capsys, "run", "quickstart", *SMALL, "--jobs", "0", "--name", "tour")
    folder = tmp_path / "runs" / "tour"
    assert status == 0
    assert "C-MORL finds more" in " ".join(out.split())
    assert f"run folder  {Path('runs/tour')}" in out
    assert str(Path("runs/tour/figures/DeepSeaTreasure.png")) in out
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    assert {"config.json", "environment.json", "claims.json", "claims.md", "summary.md"} <= {p.name for p in files}

    # The file of the experiment is the same command, and there is nothing left to do.
    again = [sys.executable, str(ROOT / "experiments" / "quickstart.py"), *SMALL, "--jobs", "0", "--name", "tour"]
    done = subprocess.run(again, capture_output=True, text=True)
    assert "done already" in done.stdout
    assert files == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}

    status, out, _ = answer(capsys, "claims")
    assert status == 0
    assert "tour" in out
    assert answer(capsys, "claims", "tour", "--markdown")[1].count("| DeepSeaTreasure") == 2

    # Figures are drawn again from the tables, the same bytes.
    for figure in (folder / "figures").iterdir():
        figure.unlink()
    status, out, _ = answer(capsys, "plot", "tour")
    assert status == 0
    assert "DeepSeaTreasure.pdf" in out
    assert {p: p.read_bytes() for p in files} == {p: content for p, (_, content) in files.items()}

    status, _, err = answer(capsys, "claims", "tuor")
    assert status == 2
    assert "Did you mean tour" in err
