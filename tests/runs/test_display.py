"""What a run shows: figures, steps per second and the end of every job, with and without a terminal."""

import io

from rich.console import Console

from prefront.runs.display import Display
from prefront.runs.worker import Failure


def show(terminal):
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=terminal, color_system=None)
    with Display(console, total=3, done=1) as display:
        display.started(0, "all")
        display.started(1, "Maze.ours")
        display.progressed(0, "all", 0, 2e6, {"hypervolume": 0.5})
        display.progressed(0, "all", 1e6, 2e6, {"hypervolume": 12.25, "points_found": 3})
        display.progress.refresh()
        display.finished(0, "all")
        display.failed(Failure(1, "Maze.ours", "its process died, 2 times"))
    return screen.getvalue()


def test_every_job_ends_with_one_line():
    for terminal in (True, False):
        lines = show(terminal).splitlines()
        (finished,) = [line for line in lines if "[2/3]" in line]
        for text in ("seed 0", "hypervolume 12.25", "points found 3", "1 M of 2 M steps", "steps/s"):
            assert text in finished
        assert sum("failed: Maze.ours, seed 1: its process died, 2 times" in line for line in lines) == 1


def test_only_a_terminal_gets_bars():
    assert "all jobs" in show(True)
    assert len(show(False).splitlines()) == 2
