"""The command `prefront`: list what there is, run experiments, show claims, draw figures."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from prefront.system.checks import check_most, check_positive, check_types, nearest_names

if TYPE_CHECKING:
    from prefront.runs.folders import Run
    from prefront.runs.loading import Experiment

PROGRAM = "prefront"
RUNS = Path("runs")
USAGE_ERROR = 2
MOST_SEEDS, MOST_JOBS = 100_000, 1024
MOST_SECONDS = 1e9
LONGEST_NAME = 200  # Bytes; what run folders hold has longer paths.
UNNAMED = tyro.conf.arg(name="")  # Options of a nested dataclass without its name in front.


class UsageError(Exception):
    """The command cannot be carried out as typed; the message says what to type instead."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of every experiment.

    Attributes:
        preset: The settings to start from; those below override it. The experiment's first preset by default.
        seeds: Number of seeds; the preset's own number by default. More seeds can be added to a run later.
        first_seed: The first of these seeds; the preset's own by default.
        device: What to compute on; gpu needs `pip install "prefront[cuda]"`.
        jobs: Worker processes, one core each; 0 works in this process, for debuggers.
        out: The folder that run folders are made in.
        name: The run folder's name; by default the experiment, the preset, and a checksum of changed settings.
        time_limit: Seconds that one attempt at one job may take; the job is begun once more, then given up.
    """

    preset: str | None = None
    seeds: int | None = None
    first_seed: int | None = None
    device: Literal["cpu", "gpu"] = "cpu"
    jobs: int = 1
    out: Path = RUNS
    name: str | None = None
    time_limit: float = 3600.0

    def __post_init__(self) -> None:
        check_types(self)
        check_most(self, MOST_SEEDS, "seeds")
        check_positive(self, "time_limit")
        check_most(self, MOST_SECONDS, "time_limit")
        check_most(self, MOST_JOBS, "jobs")
        if self.jobs < 0:
            raise ValueError(f"jobs must be 0 or more, got {self.jobs}.")
        if self.name is not None:
            _check_folder_name("name", self.name)
            if Path(self.name).name != self.name or "\\" in self.name or self.name == "..":
                raise ValueError(f"name must be the name of one folder, got {self.name!r}; where it goes is out.")
        for part in self.out.parts:
            if part != self.out.anchor:
                _check_folder_name("out", part)
        for folder in (self.out, *self.out.parents):
            if folder.exists() and not folder.is_dir():
                raise ValueError(f"out must be a folder, got {str(self.out)!r}: {str(folder)!r} is a file.")


def _check_folder_name(what: str, name: str) -> None:
    if not name.isprintable() or not name.strip() or len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(f"{what} must name folders by 1 to {LONGEST_NAME} printable bytes, got {name!r}.")


def list_() -> int:
    """List the environments, agents, preference models and experiments, one line each."""
    from prefront.runs.catalogue import AGENTS, EXPERIMENTS, MODELS
    from prefront.tasks.registry import ENVIRONMENTS

    named: dict[str, dict[str, str]] = {
        "environments": {entry.id: entry.summary for entry in ENVIRONMENTS.values()},
        "agents": {entry.name: entry.summary for entry in AGENTS.values()},
        "preference models": {entry.name: entry.summary for entry in MODELS.values()},
        "experiments": {entry.name: entry.summary for entry in EXPERIMENTS.values()},
    }
    width = max(len(name) for names in named.values() for name in names)
    for title, names in named.items():
        print(title)
        for name, summary in names.items():
            print(f"  {name:<{width}}  {summary}")
    return 0


def run(
    experiment: Annotated[str, tyro.conf.Positional], options: Annotated[RunOptions, UNNAMED] = RunOptions()
) -> int:
    """Run an experiment, or resume it.

    The same command goes on where a killed one was, bit for bit, and does nothing more where all is done.
    `prefront run EXPERIMENT --help` also lists the experiment's own settings, each of which is an option.

    Args:
        experiment: A name that `prefront list` shows, a Python module, or the path of a Python file of your own.
        options: Options of every experiment.
    """
    raise UsageError(f"Name an experiment: {PROGRAM} run EXPERIMENT.")


def claims(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = (), out: Path = RUNS, markdown: bool = False
) -> int:
    """Print the ledger: each claim, its paper, what was measured, and whether it holds.

    Args:
        runs: Run folders, by path or by name; all complete runs by default.
        out: The folder that holds the run folders.
        markdown: Print Markdown.
    """
    from rich.console import Console

    from prefront.reports.claims import summary, to_markdown, to_table
    from prefront.runs.config import RunError, find_run, find_runs
    from prefront.runs.folders import read_ledger

    folders = [find_run(name, out) for name in runs] or [
        path for path in find_runs(out) if (path / "checksums.json").exists()
    ]
    if not folders:
        raise RunError(f"There are no complete runs in {out}. Begin with: {PROGRAM} run quickstart")
    for folder in folders:
        ledger = read_ledger(folder)
        if markdown:
            print(f"## {folder.name}: {summary(ledger)}\n\n{to_markdown(ledger)}")
        else:
            Console().print(to_table(ledger, f"{folder.name}: {summary(ledger)}"))
    return 0


def plot(run: Annotated[str, tyro.conf.Positional], out: Path = RUNS, study: str | None = None) -> int:
    """Draw a run's figures again from its stored tables; nothing is run.

    Args:
        run: A run folder, by path or by name.
        out: The folder that holds the run folders.
        study: The file or module of a study of your own, whose code draws; a study of Prefront's own needs none.
    """
    from prefront.runs.config import find_run
    from prefront.runs.folders import Run

    for path in Run.load(find_run(run, out), study).plot():
        print(path)
    return 0


COMMANDS: dict[str, Callable[..., int]] = {"list": list_, "run": run, "claims": claims, "plot": plot}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out a command line.

    Args:
        arguments: The words after `prefront`; the process's own by default.

    Returns:
        The exit status: 0, 1 where a job failed, 2 for a command that cannot be carried out, 130 after Ctrl-C.
    """
    from prefront.runs.config import RunError
    from prefront.system.files import DamagedFileError

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise UsageError(f"No command {words[0]!r}. {nearest_names(words[0], list(COMMANDS))}")
        if words[:1] == ["run"] and len(words) > 1 and not words[1].startswith("-"):
            return _run(words[1], words[2:])
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog=PROGRAM, description=__doc__, args=words or ["--help"]
        )
    except BrokenPipeError:
        # Whoever read the output has left, as `head` does; the interpreter would complain when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USAGE_ERROR
    except (UsageError, RunError, DamagedFileError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("\nStopped. The same command resumes.", file=sys.stderr)
        return 130


def _run(spec: str, words: list[str]) -> int:
    from prefront.runs.config import Config
    from prefront.runs.folders import Run
    from prefront.runs.loading import load_experiment
    from prefront.runs.stored_settings import settings_to_dict

    try:
        experiment = load_experiment(spec)
        options, settings = _parse(experiment, words)
        study = experiment.study
        preset = options.preset or study.default_preset
        defaults = study.preset(preset)
        study.check(settings)
        study.named_cells(settings)
        seeds = study.preset_seeds(preset)
        config = Config(
            experiment=spec,
            preset=preset,
            settings=settings_to_dict(settings),
            seeds=len(seeds) if options.seeds is None else options.seeds,
            device=options.device,
            first_seed=seeds.start if options.first_seed is None else options.first_seed,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(error.args[0]) from error
    if options.device == "gpu" and not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)):
        raise UsageError('--device gpu needs JAX for NVIDIA GPUs: pip install "prefront[cuda]"')
    name = options.name or _default_name(experiment, preset, config.settings, settings == defaults)
    return execute(Run.open(options.out / name, config), options.jobs, options.time_limit)


def execute(run: Run, processes: int, time_limit: float) -> int:
    """Does what is left of a run, then prints its claims, its folder and its figures.

    Args:
        run: The run.
        processes: Worker processes; 0 works in this process.
        time_limit: Seconds that one attempt at one job may take.

    Returns:
        0, or 1 where a job failed.
    """
    from rich.console import Console

    from prefront.reports.claims import summary, to_table
    from prefront.runs.display import Display
    from prefront.runs.worker import run_jobs
    from prefront.system.files import DamagedFileError
    from prefront.system.runtime import use_compilation_cache, use_device, use_one_thread

    console = Console()
    with run.lock() as lock:
        if run.complete:
            ledger = run.claims()
            console.print(f"Everything is done already: {run.folder}", markup=False, highlight=False, soft_wrap=True)
        else:
            if processes == 0:
                use_device(run.config.device)
                use_one_thread()
                use_compilation_cache()
            pending = run.prepare()
            total = run.config.seeds * len(run.cells)
            with Display(console, total, total - len(pending)) as display:
                failures = (
                    run_jobs(
                        run, pending, display, processes=min(processes, len(pending)), time_limit=time_limit, lock=lock
                    )
                    if pending
                    else []
                )
            if failures:
                for failure in failures:
                    if failure.reason.startswith(DamagedFileError.__name__):
                        raise DamagedFileError(failure.details)
                for failure in failures[:3]:
                    print(f"\n{failure.details}", file=sys.stderr)
                print(f"{len(failures)} of {total} jobs failed. The same command tries them again.", file=sys.stderr)
                return 1
            ledger = run.finish()
    console.print(to_table(ledger, f"{run.experiment.title} {summary(ledger)}."))
    console.print(f"run folder  {run.folder}", markup=False, highlight=False, soft_wrap=True)
    for path in run.figures():
        console.print(f"figure      {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _parse(experiment: Experiment, words: list[str]) -> tuple[RunOptions, Any]:
    # The preset gives the defaults of the other options, so it is read first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default=experiment.study.default_preset)
    preset = first.parse_known_args(words)[0].preset
    settings = experiment.study.preset(preset)
    both = dataclasses.make_dataclass(
        "Both",
        [
            ("options", Annotated[RunOptions, UNNAMED], dataclasses.field(default=RunOptions(preset=preset))),
            ("settings", Annotated[type(settings), UNNAMED], dataclasses.field(default=settings)),
        ],
        frozen=True,
    )
    parsed: Any = tyro.cli(
        both,
        prog=f"{PROGRAM} run {experiment.spec}",
        description=experiment.page,
        args=words,
        config=(tyro.conf.AvoidSubcommands,),
    )
    return parsed.options, parsed.settings


def _default_name(experiment: Experiment, preset: str, settings: dict[str, Any], unchanged: bool) -> str:
    if unchanged:
        return f"{experiment.name}-{preset}"
    checksum = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{experiment.name}-{preset}-{checksum}"


if __name__ == "__main__":
    sys.exit(main())
