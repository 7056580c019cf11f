"""Worker processes that do the jobs of a run: each with one XLA thread, each job under a time limit.

A worker reads one job per line from its standard input and answers with JSON lines. It ends by itself when that input
closes, so that no worker outlives the process that started it, however that process ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from prefront.runs.folders import Run
from prefront.system.files import DamagedFileError
from prefront.system.runtime import use_compilation_cache, use_device, use_one_thread

MAX_ATTEMPTS = 2
REPORT_INTERVAL_SECONDS = 0.1
POLL_SECONDS = 0.2
STDERR_TAIL_CHARACTERS = 2000


@dataclasses.dataclass(frozen=True)
class Failure:
    """A job that did not finish.

    Attributes:
        seed: Its seed.
        cell: Its cell.
        reason: What happened, in one line.
        details: The traceback, or the end of what the process wrote to its standard error.
    """

    seed: int
    cell: str
    reason: str
    details: str = ""


class Listener(Protocol):
    """Who hears how the jobs go, for example a progress display."""

    def started(self, seed: int, cell: str) -> None:
        """A worker begins a job."""

    def progressed(self, seed: int, cell: str, done: float, total: float, figures: dict[str, float]) -> None:
        """A job has done so much of its steps."""

    def finished(self, seed: int, cell: str) -> None:
        """A job's results are in the run folder."""

    def failed(self, failure: Failure) -> None:
        """A job was given up."""


def run_jobs(
    run: Run,
    pending: Iterable[tuple[int, str]],
    listener: Listener,
    *,
    processes: int,
    time_limit: float,
    lock: int | None = None,
) -> list[Failure]:
    """Does jobs in worker processes.

    A job whose process dies or that exceeds the time limit is begun once more, from its checkpoint; a job that raises
    an exception is not, for it would raise it again. The other jobs go on.

    Args:
        run: The run.
        pending: The jobs, as (seed, cell).
        listener: Hears of every start, progress and end.
        processes: How many workers; 0 does the jobs in this process, one by one, without a time limit.
        time_limit: Seconds that one attempt at a job may take.
        lock: Descriptor of the run folder's lock, which workers hold as long as they live.

    Returns:
        The jobs that failed.
    """
    if processes == 0:
        return _run_here(run, pending, listener)
    waiting = deque((seed, cell, 1) for seed, cell in pending)
    inbox: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
    workers: set[_Worker] = set()
    failures: list[Failure] = []
    try:
        while waiting or any(worker.job for worker in workers):
            while waiting and len(workers) < processes:
                workers.add(_Worker(run, inbox, lock))
            for worker in workers:
                if waiting and worker.job is None:
                    elsewhere = {one.cell for one in workers if one is not worker}
                    worker.give(take_job(waiting, worker.cell, elsewhere), time_limit)
                    listener.started(*worker.job_name)
            lost = [worker for worker in workers if worker.job and time.monotonic() > worker.deadline]
            for worker in lost:
                workers.discard(worker)
                worker.kill()
                _retry_or_fail(worker, f"no end after {time_limit:g} s", waiting, failures, listener)
            try:
                worker, message = inbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if worker not in workers:
                continue
            if message is None:
                workers.discard(worker)
                worker.kill()
                _retry_or_fail(worker, "its process died", waiting, failures, listener)
                continue
            seed, cell = worker.job_name
            if "progress" in message:
                done, total, figures = message["progress"]
                listener.progressed(seed, cell, done, total, figures)
            elif "failed" in message:
                worker.job = None
                failures.append(Failure(seed, cell, *message["failed"]))
                listener.failed(failures[-1])
            else:
                worker.job = None
                listener.finished(seed, cell)
    finally:
        for worker in workers:
            worker.kill()
    return failures


def take_job(waiting: deque[tuple[int, str, int]], own: str | None, elsewhere: Collection[str | None]) -> Any:
    """Takes from the waiting jobs the first one for which a worker has the least to compile that others have compiled.

    Args:
        waiting: Jobs as (seed, cell, attempt).
        own: Part of the worker's last job, whose programs it has.
        elsewhere: Parts of the other workers' last jobs.

    Returns:
        The first job of its own cell; if there is none, the first of a cell that no other worker is at, or of any.
    """
    job = min(waiting, key=lambda job: (job[1] != own, job[1] in elsewhere))
    waiting.remove(job)
    return job


class _Worker:
    """One worker process, and the thread that reads what it says."""

    def __init__(self, run: Run, inbox: queue.Queue[Any], lock: int | None) -> None:
        self.job: tuple[int, str, int] | None = None
        self.cell: str | None = None
        self.deadline = 0.0
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        command = [sys.executable, "-m", "prefront.runs.worker", str(run.folder.resolve()), run.config.device]
        command.append(run.experiment.spec)  # Named by whoever started the run, not by its folder.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends its workers.
        )
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    @property
    def job_name(self) -> tuple[int, str]:
        assert self.job is not None
        return self.job[:2]

    def give(self, job: tuple[int, str, int], time_limit: float) -> None:
        self.job, self.cell = job, job[1]
        self.deadline = time.monotonic() + time_limit
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job[:2]).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # The reading thread reports the process's end.

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        self.said = self.errors.read().decode(errors="replace")[-STDERR_TAIL_CHARACTERS:]
        self.errors.close()

    def _listen(self, inbox: queue.Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                inbox.put((self, json.loads(line)))
            except ValueError:
                break  # A line cut by the process's death.
        inbox.put((self, None))


def _retry_or_fail(
    worker: _Worker, reason: str, waiting: deque[Any], failures: list[Failure], listener: Listener
) -> None:
    if worker.job is None:
        return
    seed, cell, attempt = worker.job
    if attempt < MAX_ATTEMPTS:
        waiting.appendleft((seed, cell, attempt + 1))
        return
    failures.append(Failure(seed, cell, f"{reason}, {attempt} times", worker.said))
    listener.failed(failures[-1])


def _run_here(run: Run, pending: Iterable[tuple[int, str]], listener: Listener) -> list[Failure]:
    failures: list[Failure] = []
    for seed, cell in pending:
        listener.started(seed, cell)
        report = _throttled(partial(listener.progressed, seed, cell))
        try:
            run.run_job(seed, cell, report)
        except Exception as error:  # Whatever a study raises must not end the others.
            failures.append(Failure(seed, cell, *_said(error)))
            listener.failed(failures[-1])
        else:
            listener.finished(seed, cell)
    return failures


def _throttled(send: Callable[[float, float, dict[str, float]], None]) -> Callable[..., None]:
    last = -REPORT_INTERVAL_SECONDS

    def report(done: float, total: float, **figures: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_INTERVAL_SECONDS or done >= total:
            last = now
            send(float(done), float(total), {name: float(figure) for name, figure in figures.items()})

    return report


def _said(error: BaseException) -> tuple[str, str]:
    """Returns what happened in one line, and the traceback, or the file where one is damaged."""
    line = f"{type(error).__name__}: {error}".partition("\n")[0]
    return line, str(error) if isinstance(error, DamagedFileError) else traceback.format_exc()


def _work(folder: Path, study: str) -> None:
    # What a study or a library prints must not reach the channel: standard output becomes standard error.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    jobs: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            jobs.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    run = Run.load(folder, study)
    report = _throttled(lambda *progress: print(json.dumps({"progress": progress}), file=channel))
    while True:
        seed, cell = json.loads(jobs.get())
        try:
            run.run_job(seed, cell, report)
        except Exception as error:  # Reported to the parent, which goes on with the other jobs.
            answer: dict[str, Any] = {"failed": _said(error)}
        else:
            answer = {"done": True}
        print(json.dumps(answer), file=channel)


if __name__ == "__main__":
    use_device(sys.argv[2])
    use_one_thread()
    use_compilation_cache()
    _work(Path(sys.argv[1]), sys.argv[3])
