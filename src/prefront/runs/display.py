"""What a run shows on the terminal: one line per running job, and how far all jobs are."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from prefront.runs.cells import WHOLE, cell_name
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

    def started(self, seed: int, cell: str) -> None:
        """Shows a line for the job."""
        self._remove(seed, cell)
        self.tasks[seed, cell] = self.progress.add_task(_name(seed, cell), total=None, figures="starting")

    def progressed(self, seed: int, cell: str, done: float, total: float, figures: dict[str, float]) -> None:
        """Updates the job's line; its rate counts from its first report, without compilation and resumed steps."""
        now = time.monotonic()
        since, steps = self.begun.setdefault((seed, cell), (now, done))
        rate = (done - steps) / (now - since) if now > since else 0.0
        shown = [f"{name.replace('_', ' ')} {figure:.6g}" for name, figure in figures.items()]
        shown += [f"{_count(rate)} steps/s"] if rate > 0 else []
        shown += [f"{_count(done)} of {_count(total)} steps"]
        self.figures[seed, cell] = ", ".join(shown)
        self.progress.update(self.tasks[seed, cell], total=total, completed=done, figures=self.figures[seed, cell])

    def finished(self, seed: int, cell: str) -> None:
        """Replaces the job's line by one line of text."""
        self.done += 1
        figures = self.figures.get((seed, cell), "")
        self.console.print(
            f"[{self.done}/{self.total}] {_name(seed, cell)}  {figures}", highlight=False, markup=False, soft_wrap=True
        )
        self._remove(seed, cell)
        self.progress.update(self.overall, completed=self.done)

    def failed(self, failure: Failure) -> None:
        """Says why a job failed."""
        self.console.print(f"failed: {_name(failure.seed, failure.cell)}: {failure.reason}", style="red", markup=False)
        self._remove(failure.seed, failure.cell)

    def _remove(self, seed: int, cell: str) -> None:
        if (seed, cell) in self.tasks:
            self.progress.remove_task(self.tasks.pop((seed, cell)))
        self.begun.pop((seed, cell), None)
        self.figures.pop((seed, cell), None)


def _name(seed: int, cell: str) -> str:
    return f"seed {seed}" if cell == cell_name(WHOLE) else f"{cell}, seed {seed}"


def _count(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
