"""What seals the folders of a run: each finished job's by a list of checksums and a timing, the run's by a list."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefront.system.checksums import LIST, Checksums, check_files, read_checksums
from prefront.system.files import DamagedFileError, read_json, signed_json, write_atomically
from prefront.system.runtime import forget_peak_memory, peak_memory_mb

TIMING = "timing.json"
FIGURES = "figures"
# What a finished run has beside its jobs, its tables and its figures.
TOP_FILES = ("config.json", "environment*.json", "claims.json", "claims.md", "summary.md", "summary.tex")
TIMING_INTERVAL_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """What a job took.

    Attributes:
        owner: Which job: its config, seed and cell.
        spent: Seconds, memory and attempts by name.
    """

    owner: dict[str, Any]
    spent: dict[str, float]


class Clock:
    """Seconds and peak memory of a job over all its attempts; what a kill destroys is at most the last two seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = {"wall_seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_mb": 0.0, "attempts": 0}
        if path.exists():
            self.before |= read_json(path, dict[str, float])
        forget_peak_memory()
        self.wall, self.cpu = time.monotonic(), time.process_time()
        self.saved = -TIMING_INTERVAL_SECONDS

    def spent(self) -> dict[str, float]:
        """Returns what all attempts together have taken until now."""
        return {
            "wall_seconds": self.before["wall_seconds"] + time.monotonic() - self.wall,
            "cpu_seconds": self.before["cpu_seconds"] + time.process_time() - self.cpu,
            # In this order an unknown peak stays unknown: comparisons with NaN are false.
            "peak_memory_mb": max(peak_memory_mb(), self.before["peak_memory_mb"]),
            "attempts": self.before["attempts"] + 1,
        }

    def save(self) -> None:
        """Stores what was spent, at most once in two seconds."""
        elapsed = time.monotonic() - self.wall
        if elapsed - self.saved >= TIMING_INTERVAL_SECONDS:
            write_atomically(self.path, signed_json(self.spent(), allow_nan=True))
            self.saved = elapsed


def seal_job(folder: Path, owner: Mapping[str, Any], clock: Clock) -> None:
    """Writes the list of a job's files and what the job took, which no two runs agree in, into its folder."""
    Checksums.of(folder, (path for path in folder.rglob("*") if path.is_file()), owner).write(folder)
    write_atomically(folder / TIMING, signed_json({"owner": owner, "spent": clock.spent()}, allow_nan=True))


def check_job(folder: Path, owner: Mapping[str, Any] | None = None) -> tuple[Checksums, Timing]:
    """Compares all files of a sealed job with their checksums.

    Args:
        folder: The job's folder.
        owner: Whose it must be; by default whose its list says.

    Returns:
        The list and the timing.

    Raises:
        DamagedFileError: A file is damaged, missing or another job's; the message names it.
    """
    try:
        listed = read_checksums(folder, owner)
        check_files(folder, listed)
        timing: Timing = read_json(folder / TIMING, Timing)
        if timing.owner != listed.owner:
            raise DamagedFileError(f"{folder / TIMING} belongs to {timing.owner}, not to {listed.owner}.")
    except DamagedFileError as error:
        raise DamagedFileError(f"{error} To have the same command make it anew, delete {folder}.") from error
    return listed, timing


def list_run(folder: Path, jobs: Iterable[Path], owner: Mapping[str, Any]) -> Checksums:
    """Takes the checksums of all files of a run, of which those of its jobs' lists stand for the jobs' files.

    Raises:
        DamagedFileError: A file that the run did not write just now is damaged.
    """
    for path in folder.glob("environment*.json"):
        read_json(path, dict[str, Any])
    tops = (path for name in TOP_FILES for path in folder.glob(name))
    figures = (path for path in (folder / FIGURES).rglob("*") if path.is_file())
    tables = folder.glob("seed-*/*.csv")
    return Checksums.of(folder, [*tops, *(job / LIST for job in jobs), *tables, *figures], owner)


def check_listed(folder: Path, listed: Checksums, figures: bool) -> None:
    """Compares all files of a run with its list and with its jobs' lists.

    Raises:
        DamagedFileError: A file is damaged or missing; the message names it.
    """
    try:
        check_files(folder, listed, lambda name: figures or not name.startswith(f"{FIGURES}/"))
    except DamagedFileError as error:
        raise DamagedFileError(f"{error} To have the same command make it anew, delete {folder / LIST}.") from error
    for name in listed.files:
        if name.endswith(f"/{LIST}"):
            check_job((folder / name).parent)
