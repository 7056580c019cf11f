"""Run folders: what a run was asked for, what it found, and how far it is.

    config.json                 experiment, preset, settings, first seed and number of seeds, device
    environment.json            versions, hardware, commit; environment-2.json and so on where a run went on elsewhere
    seed-0/metrics.csv          one file per table and seed, all parts below each other
    seed-0/PART/                what one job made: its tables, its fronts, and timing.csv
    unfinished/seed-0/PART/     the job's checkpoint, and what it has written so far
    figures/, claims.md         drawn and decided from the tables alone
    summary.md, summary.tex     the table that a paper would print
    claims.json                 written last: a run that has it is complete

A job's folder is renamed into place when everything in it is on the disk, and every other file is written atomically.
So whatever is there is whole, and a run that is killed at any moment and started again ends with the same bytes as one
that was not; only `timing.csv` and what the summary takes from it differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prefront import provenance
from prefront.checks import nearest_names
from prefront.claims import Claim, read_claims, to_markdown, write_claims
from prefront.experiment import ONLY_PART, Experiment, Job, Results, load_experiment, settings_from_dict
from prefront.files import DamagedFileError, write_atomically
from prefront.runtime import forget_peak_memory, peak_memory_mb
from prefront.tables import Table

TIMING = "timing"
LOCK_PATIENCE_SECONDS = 10.0
TIMING_INTERVAL_SECONDS = 2.0


class RunError(Exception):
    """A run folder cannot be used as asked; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What a run was asked for.

    Attributes:
        experiment: The experiment's name, module or file.
        preset: The preset that the settings started from.
        settings: The settings as JSON stores them.
        seeds: Number of seeds; the run has `first_seed` and those that follow it.
        device: "cpu" or "gpu".
        first_seed: The first seed.
    """

    experiment: str
    preset: str
    settings: dict[str, Any]
    seeds: int
    device: str = "cpu"
    first_seed: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"A run has at least 1 seed, got {self.seeds}.")
        if self.first_seed < 0:
            raise ValueError(f"Seeds are numbers from 0, got first_seed = {self.first_seed}.")

    @property
    def every_seed(self) -> range:
        """All seeds of the run."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def differences(self, other: Config) -> list[str]:
        """Names each field in which the config that is asked for, `other`, differs from this one of a folder."""
        mine, theirs = _flatten(dataclasses.asdict(self)), _flatten(dataclasses.asdict(other))
        return [
            f"{name}: {mine.get(name, 'absent')!r} in the folder, {theirs.get(name, 'absent')!r} asked for"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name, ...) != theirs.get(name, ...)
        ]


class Run:
    """A run folder.

    Attributes:
        folder: Where it is.
        config: What was asked for.
        experiment: The experiment.
        settings: Its settings.
    """

    def __init__(self, folder: Path, config: Config, experiment: Experiment) -> None:
        self.folder = folder
        self.config = config
        self.experiment = experiment
        self.settings = settings_from_dict(experiment.module.Settings, config.settings)
        self.parts = experiment.parts(self.settings)

    @classmethod
    def open(cls, folder: str | Path, config: Config) -> Run:
        """Creates a run folder, or opens the one that is there; further seeds are added to it.

        Raises:
            RunError: The folder holds a run of another config, or something that is no run; the message names the
                differing fields.
        """
        folder = Path(folder)
        run = cls(folder, config, load_experiment(config.experiment))
        if (folder / "config.json").exists():
            stored = read_config(folder)
            growing = dataclasses.replace(stored, seeds=max(stored.seeds, config.seeds))
            if differences := growing.differences(config):
                listed = "\n  ".join(differences)
                raise RunError(
                    f"{folder} holds a run of another configuration:\n  {listed}\nName another folder (--name, --out)."
                )
        elif folder.exists() and any(entry.name != ".lock" for entry in folder.iterdir()):
            raise RunError(f"{folder} is not empty and holds no run (it has no config.json). Choose another folder.")
        return run

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Opens a run folder that is there.

        Raises:
            RunError: There is none, or its experiment cannot be found, or has or allows other settings by now.
        """
        config = read_config(folder)
        try:
            return cls(Path(folder), config, load_experiment(config.experiment))
        except (ImportError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{folder} does not fit this version of its experiment: {error.args[0]}") from error

    @property
    def complete(self) -> bool:
        """Whether every job, figure and claim of this config is there."""
        stored = self.folder / "config.json"
        same = stored.exists() and read_config(self.folder).every_seed == self.config.every_seed
        return same and (self.folder / "claims.json").exists()

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Keeps other processes from writing into the folder; yields a descriptor that workers may inherit.

        The lock is the kernel's: it ends with the last process that holds the descriptor, however that process ends.

        Raises:
            RunError: Another process works in the folder, or the system has no such locks.
        """
        try:
            import fcntl
        except ImportError:
            raise RunError("Runs need the file locks of Unix (fcntl), which this system lacks; use WSL.") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise RunError(f"Another process works in {self.folder}.") from None
                    time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    def prepare(self) -> list[tuple[int, str]]:
        """Writes config and environment where they are missing, under the lock.

        Returns:
            The jobs still to be done, as (seed, part), in an order that lets one process reuse compiled programs.
        """
        for leftover in self.folder.glob("**/.*.tmp"):
            leftover.unlink()
        config = json.dumps(dataclasses.asdict(self.config), indent=1) + "\n"
        stored = self.folder / "config.json"
        if not stored.exists() or stored.read_text(encoding="utf-8") != config:
            (self.folder / "claims.json").unlink(missing_ok=True)
            write_atomically(stored, config)
        pending = [
            (seed, part)
            for part in self.parts
            for seed in self.config.every_seed
            if not self.job_folder(seed, part).exists()
        ]
        if pending:
            provenance.record(self.folder, self.config.device)
        return pending

    def job_folder(self, seed: int, part: str) -> Path:
        """Returns where a finished job's results are."""
        return self.folder / f"seed-{seed}" / part

    def run_job(self, seed: int, part: str, report: Callable[..., None]) -> None:
        """Does one job in this process, from its checkpoint where it has one."""
        final, work = self.job_folder(seed, part), self.folder / "unfinished" / f"seed-{seed}" / part
        if final.exists():
            return
        results = work / "results"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        clock = _Clock(work / f"{TIMING}.json")

        def report_and_time(done: float, total: float, **figures: float) -> None:
            clock.save()
            report(done, total, **figures)

        job = Job(part, results, work / "checkpoint", report_and_time)
        labels: dict[str, Any] = {"seed": seed} if self.parts == (ONLY_PART,) else {"seed": seed, "part": part}
        for name, rows in self.experiment.run(self.settings, seed, job).items():
            if rows:
                Table.from_rows({**labels, **row} for row in rows).write(results / f"{name}.csv")
        Table.from_rows([{**labels, **clock.spent()}]).write(results / f"{TIMING}.csv")
        final.parent.mkdir(parents=True, exist_ok=True)
        results.replace(final)
        shutil.rmtree(work)

    def results(self) -> Results:
        """Reads the stored tables of all finished jobs."""
        found: dict[str, list[Table]] = {}
        for seed in self.config.every_seed:
            for part in self.parts:
                for path in sorted(self.job_folder(seed, part).glob("*.csv")):
                    found.setdefault(path.stem, []).append(Table.read(path))
        tables = {name: Table.concatenate(parts) for name, parts in found.items()}
        return Results(self.settings, tables, tables.pop(TIMING, Table({})))

    def finish(self) -> list[Claim]:
        """Writes each seed's tables, the figures and the claims of a run whose jobs are all done.

        Returns:
            The claims.
        """
        shutil.rmtree(self.folder / "unfinished", ignore_errors=True)
        results = self.results()
        for name, table in results.tables.items():
            for seed in table.unique("seed"):
                table.where(seed=seed).write(self.folder / f"seed-{seed}" / f"{name}.csv")
        self.plot(results)
        summary = self.experiment.summary(results)
        if summary is not None:
            write_atomically(self.folder / "summary.md", summary.to_markdown())
            write_atomically(self.folder / "summary.tex", summary.to_latex())
        claims = self.experiment.claims(results)
        write_atomically(self.folder / "claims.md", to_markdown(claims))
        write_claims(self.folder / "claims.json", claims)
        return claims

    def plot(self, results: Results | None = None) -> list[Path]:
        """Draws the figures from the stored tables; returns their paths.

        Raises:
            RunError: No job has finished yet.
        """
        results = results or self.results()
        if not results.tables:
            raise RunError(f"{self.folder} has no results yet: no job of it has finished.")
        return self.experiment.plot(results, self.folder / "figures")

    def figures(self) -> list[Path]:
        """Returns the paths of the figures that are there."""
        return sorted((self.folder / "figures").glob("*.png"))

    def claims(self) -> list[Claim]:
        """Reads the stored ledger.

        Raises:
            RunError: The run is not complete.
        """
        return read_ledger(self.folder)


def read_ledger(folder: str | Path) -> list[Claim]:
    """Reads the stored ledger of a run folder, whatever has become of its experiment since.

    Raises:
        RunError: The run is not complete.
    """
    path = Path(folder) / "claims.json"
    if not path.exists():
        raise RunError(f"{folder} is not complete: run the same command again to resume it.")
    return read_claims(path)


def read_config(folder: str | Path) -> Config:
    """Reads the config of a run folder.

    Raises:
        RunError: The folder holds no run.
        DamagedFileError: The config is damaged.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise RunError(f"{folder} holds no run (it has no config.json).")
    try:
        return Config(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error


def find_runs(root: str | Path) -> list[Path]:
    """Returns the run folders below a folder, by name."""
    return sorted(path.parent for path in Path(root).glob("*/config.json"))


def find_run(name: str, root: str | Path) -> Path:
    """Returns the run folder that a user names, by its path or by its name below `root`.

    Raises:
        RunError: There is none; the message names the nearest ones.
    """
    for folder in (Path(name), Path(root) / name):
        if (folder / "config.json").is_file():
            return folder
    known = [folder.name for folder in find_runs(root)]
    hint = nearest_names(Path(name).name, known) if known else f"There are no runs in {root}."
    raise RunError(f"No run {name!r}. {hint}")


class _Clock:
    """Seconds and peak memory of a job over all its attempts; what a kill destroys is at most the last two seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = {"wall_seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_mb": 0.0, "attempts": 0}
        with contextlib.suppress(OSError, ValueError):
            self.before |= json.loads(path.read_text(encoding="utf-8"))
        forget_peak_memory()
        self.wall, self.cpu = time.monotonic(), time.process_time()
        self.saved = -TIMING_INTERVAL_SECONDS

    def spent(self) -> dict[str, float]:
        return {
            "wall_seconds": self.before["wall_seconds"] + time.monotonic() - self.wall,
            "cpu_seconds": self.before["cpu_seconds"] + time.process_time() - self.cpu,
            # In this order an unknown peak stays unknown: comparisons with NaN are false.
            "peak_memory_mb": max(peak_memory_mb(), self.before["peak_memory_mb"]),
            "attempts": self.before["attempts"] + 1,
        }

    def save(self) -> None:
        elapsed = time.monotonic() - self.wall
        if elapsed - self.saved >= TIMING_INTERVAL_SECONDS:
            write_atomically(self.path, json.dumps(self.spent()))
            self.saved = elapsed


def _flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
