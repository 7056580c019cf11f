"""What a run shows on the terminal: one line per running job, and how far all jobs are."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from prefront.runs.study import ONLY_PART
from prefront.runs.worker import Failure


class Display:
    """Shows steps per second, figures so far (such as the hypervolume) and the time left of every running job.

    Where the output is no terminal, it prints one line per finished job instead.

    Args:
        console: Where to.
        total: Number of jobs in all.
        done: How many of them were done before.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, ratio=1)),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.total, self.done = total, done
        self.overall = self.progress.add_task("[bold]all jobs", total=total, completed=done, figures="")
        self.tasks: dict[tuple[int, str], TaskID] = {}
        self.begun: dict[tuple[int, str], tuple[float, float]] = {}
        self.figures: dict[tuple[int, str], str] = {}

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, seed: int, part: str) -> None:
        """Shows a line for the job."""
        self._remove(seed, part)
        self.tasks[seed, part] = self.progress.add_task(_name(seed, part), total=None, figures="starting")

    def progressed(self, seed: int, part: str, done: float, total: float, figures: dict[str, float]) -> None:
        """Updates the job's line; its rate counts from its first report, without compilation and resumed steps."""
        now = time.monotonic()
        since, steps = self.begun.setdefault((seed, part), (now, done))
        rate = (done - steps) / (now - since) if now > since else 0.0
        shown = [f"{name.replace('_', ' ')} {figure:.6g}" for name, figure in figures.items()]
        shown += [f"{_count(rate)} steps/s"] if rate > 0 else []
        shown += [f"{_count(done)} of {_count(total)} steps"]
        self.figures[seed, part] = ", ".join(shown)
        self.progress.update(self.tasks[seed, part], total=total, completed=done, figures=self.figures[seed, part])

    def finished(self, seed: int, part: str) -> None:
        """Replaces the job's line by one line of text."""
        self.done += 1
        figures = self.figures.get((seed, part), "")
        self.console.print(
            f"[{self.done}/{self.total}] {_name(seed, part)}  {figures}", highlight=False, markup=False, soft_wrap=True
        )
        self._remove(seed, part)
        self.progress.update(self.overall, completed=self.done)

    def failed(self, failure: Failure) -> None:
        """Says why a job failed."""
        self.console.print(f"failed: {_name(failure.seed, failure.part)}: {failure.reason}", style="red", markup=False)
        self._remove(failure.seed, failure.part)

    def _remove(self, seed: int, part: str) -> None:
        if (seed, part) in self.tasks:
            self.progress.remove_task(self.tasks.pop((seed, part)))
        self.begun.pop((seed, part), None)
        self.figures.pop((seed, part), None)


def _name(seed: int, part: str) -> str:
    return f"seed {seed}" if part == ONLY_PART else f"{part}, seed {seed}"


def _count(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
