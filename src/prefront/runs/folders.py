"""Run folders: what a run was asked for, what it found, and how far it is.

    config.json                 experiment, preset, settings, first seed and number of seeds, device
    environment.json            versions, hardware, commit; environment-2.json and so on where a run went on elsewhere
    seed-0/metrics.csv          one file per table and seed, all cells below each other
    seed-0/CELL/                what one job made: its tables and its fronts; checksums.json lists them, with config,
                                seed and cell; timing.json says what the job took
    unfinished/seed-0/CELL/     the job's checkpoint, and what it has written so far
    figures/, claims.*          drawn and decided from the tables alone
    summary.md, summary.tex     the table that a paper would print
    checksums.json              written last, and lists everything: a run that has it is complete

A job's folder is renamed into place when everything in it is on the disk, and every other file is written atomically.
So whatever is there is whole, and a run that is killed at any moment and started again ends with the same bytes as one
that was not; only `timing.json` and what the summary takes from it differ, and the run's `checksums.json` with it.

Files are compared with their checksums before anything is made of them: a damaged, lost or swapped one is refused by
name. Where a job's folder or `checksums.json` is deleted, the same command makes anew what they covered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prefront.reports.claims import Claim, read_claims, to_markdown, write_claims
from prefront.runs.catalogue import EXPERIMENTS
from prefront.runs.cells import WHOLE
from prefront.runs.config import Config, RunError, read_config
from prefront.runs.job_folders import FIGURES, TIMING, Clock, Timing, check_job, check_listed, list_run, seal_job
from prefront.runs.loading import Experiment, load_experiment
from prefront.runs.stored_settings import settings_from_dict
from prefront.runs.study import Job, Results
from prefront.system import provenance
from prefront.system.checksums import LIST, Checksums, read_checksums
from prefront.system.files import remove_leftovers, signed_json, write_atomically
from prefront.system.tables import Table

LOCK_PATIENCE_SECONDS = 10.0


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
        self.study = experiment.study
        self.settings = settings_from_dict(self.study.settings_type, config.settings)
        self.cells = self.study.named_cells(self.settings)

    @classmethod
    def open(cls, folder: str | Path, config: Config) -> Run:
        """Creates a run folder, or opens the one that is there; further seeds are added to it.

        Raises:
            RunError: The folder holds a run of another config, or something that is no run; the message names the
                differing fields.
        """
        folder = Path(folder)
        experiment = load_experiment(config.experiment)
        config = dataclasses.replace(config, experiment=experiment.stored_spec, study=experiment.checksum)
        run = cls(folder, config, experiment)
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
    def load(cls, folder: str | Path, study: str | None = None) -> Run:
        """Opens a run folder that is there; what its files name is never imported, unless it is a study of ours.

        Args:
            folder: The run folder.
            study: The file or module of the study, which the caller trusts; our own studies need none.

        Raises:
            RunError: There is none, or its study is not given, not found or another one by now, or has or allows other
                settings.
        """
        config = read_config(folder)
        if study is None and config.experiment not in EXPERIMENTS:
            raise RunError(
                f"{folder} was made by {config.experiment!r}, which is no study of Prefront's own and is not run "
                f"because a file names it. If you trust it: prefront plot {folder} --study {config.experiment!r}"
            )
        try:
            experiment = load_experiment(config.experiment if study is None else study)
            if (experiment.stored_spec, experiment.checksum) != (config.experiment, config.study):
                asked = f"not by {study!r} with {experiment.checksum}"
                raise RunError(f"{folder} was made by {config.experiment!r} with SHA-256 {config.study!r}, {asked}.")
            return cls(Path(folder), config, experiment)
        except (ImportError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{folder} does not fit this version of its experiment: {error.args[0]}") from error

    @property
    def complete(self) -> bool:
        """Whether every job, figure and claim of this config is there; not whether their files are undamaged."""
        stored = self.folder / "config.json"
        same = stored.exists() and read_config(self.folder).every_seed == self.config.every_seed
        jobs = all(self.job_folder(seed, cell).exists() for seed, cell in self._jobs())
        return same and jobs and (self.folder / LIST).exists()

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
            The jobs still to be done, as (seed, cell), in an order that lets one process reuse compiled programs.
        """
        remove_leftovers(self.folder)
        (self.folder / LIST).unlink(missing_ok=True)
        config = signed_json(dataclasses.asdict(self.config), allow_nan=True)
        stored = self.folder / "config.json"
        if not stored.exists() or stored.read_text(encoding="utf-8") != config:
            write_atomically(stored, config)
        pending = [job for job in self._jobs() if not self.job_folder(*job).exists()]
        self.results()  # Damage is found before there is more work.
        if pending:
            provenance.record(self.folder, self.config.device)
        return pending

    def _jobs(self) -> list[tuple[int, str]]:
        return [(seed, cell) for cell in self.cells for seed in self.config.every_seed]

    def _owner(self, seed: int, cell: str) -> dict[str, Any]:
        return {"config": self.config.identity, "seed": seed, "cell": cell}

    def _checked(self, seed: int, cell: str) -> tuple[Checksums, Timing]:
        return check_job(self.job_folder(seed, cell), self._owner(seed, cell))

    def job_folder(self, seed: int, cell: str) -> Path:
        """Returns where a finished job's results are."""
        return self.folder / f"seed-{seed}" / cell

    def run_job(self, seed: int, cell: str, report: Callable[..., None]) -> None:
        """Does one job in this process, from its checkpoint where it has one."""
        final, work = self.job_folder(seed, cell), self.folder / "unfinished" / f"seed-{seed}" / cell
        if final.exists():
            return
        results = work / "results"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        clock = Clock(work / TIMING)

        def report_and_time(done: float, total: float, **figures: float) -> None:
            clock.save()
            report(done, total, **figures)

        job = Job(self.cells[cell], results, work / "checkpoint", report_and_time)
        labels = self._labels(seed, cell)
        for name, rows in self.study.run(self.settings, seed, job).items():
            for row in rows:
                if own := sorted(labels.keys() & row.keys()):
                    raise ValueError(f"The table {name!r} has a column {own[0]!r} of its own, which the run writes.")
            if rows:
                Table.from_rows({**labels, **row} for row in rows).write(results / f"{name}.csv")
        seal_job(results, self._owner(seed, cell), clock)
        final.parent.mkdir(parents=True, exist_ok=True)
        results.replace(final)
        shutil.rmtree(work)

    def _labels(self, seed: int, cell: str) -> dict[str, Any]:
        return {"seed": seed} if list(self.cells.values()) == [WHOLE] else {"seed": seed, "cell": cell}

    def results(self) -> Results:
        """Reads the stored tables of all finished jobs.

        Raises:
            DamagedFileError: A file of a job is damaged, missing or another job's.
        """
        found: dict[str, list[Table]] = {}
        timing: list[dict[str, Any]] = []
        done = (job for job in sorted(self._jobs(), key=lambda job: job[0]) if self.job_folder(*job).exists())
        for job in done:
            listed, timed = self._checked(*job)
            timing.append({**self._labels(*job), **timed.spent})
            for name, checksum in listed.files.items():
                if name.endswith(".csv") and "/" not in name:
                    table = Table.read(self.job_folder(*job) / name, checksum)
                    found.setdefault(name.removesuffix(".csv"), []).append(table)
        tables = {name: Table.concatenate(pieces) for name, pieces in found.items()}
        return Results(self.settings, tables, Table.from_rows(timing))

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
        self._draw(results)
        if self.study.summary is not None:
            summary = self.study.summary(results)
            write_atomically(self.folder / "summary.md", summary.to_markdown())
            write_atomically(self.folder / "summary.tex", summary.to_latex())
        claims = self.study.decide(results)
        write_atomically(self.folder / "claims.md", to_markdown(claims))
        write_claims(self.folder / "claims.json", claims)
        self._write_list()
        return claims

    def plot(self) -> list[Path]:
        """Draws the figures from the stored tables; returns their paths.

        Raises:
            RunError: No job has finished yet.
            DamagedFileError: A file of the run, other than a figure, is damaged or missing.
        """
        whole = (self.folder / LIST).exists()
        if whole:
            check_run(self.folder, figures=False)
            # Until the figures are drawn the run counts as incomplete, so that a kill does no harm.
            (self.folder / LIST).unlink()
        paths = self._draw(self.results())
        if whole:
            self._write_list()
        return paths

    def _draw(self, results: Results) -> list[Path]:
        if not results.tables:
            raise RunError(f"{self.folder} has no results yet: no job of it has finished.")
        shutil.rmtree(self.folder / FIGURES, ignore_errors=True)  # The list must hold nothing but what was drawn now.
        return self.study.draw(results, self.folder / FIGURES)

    def _write_list(self) -> None:
        jobs = [self.job_folder(*job) for job in self._jobs()]
        list_run(self.folder, jobs, {"config": self.config.identity}).write(self.folder)

    def figures(self) -> list[Path]:
        """Returns the paths of the figures that are there."""
        return sorted((self.folder / FIGURES).glob("*.png"))

    def claims(self) -> list[Claim]:
        """Reads the stored ledger.

        Raises:
            RunError: The run is not complete.
        """
        return read_ledger(self.folder)


def check_run(folder: str | Path, figures: bool = True) -> Checksums:
    """Compares every file of a complete run with its checksum, whatever has become of its experiment since.

    Args:
        folder: The run folder.
        figures: Whether the figures are looked at too.

    Returns:
        The run's list.

    Raises:
        RunError: The run is not complete.
        DamagedFileError: A file is damaged, missing, or another run's, seed's or cell's; the message names it.
    """
    folder = Path(folder)
    if not (folder / LIST).is_file():
        raise RunError(f"{folder} is not complete, it has no {LIST}: run the same command again to resume it.")
    listed = read_checksums(folder, {"config": read_config(folder).identity})
    check_listed(folder, listed, figures)
    return listed


def read_ledger(folder: str | Path) -> list[Claim]:
    """Reads the stored ledger of a run folder, and refuses it where any file of the run is damaged, see `check_run`."""
    return read_claims(Path(folder) / "claims.json", check_run(folder).files.get("claims.json"))
