"""Run folders: killed at random moments they end as if nothing had happened, and nothing is run twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from prefront.cli import execute
from prefront.runs.config import Config, RunError, read_config
from prefront.runs.folders import Run
from prefront.runs.loading import load_experiment
from prefront.runs.stored_settings import settings_to_dict
from prefront.runs.worker import take_job
from prefront.system.files import read_json, signed_json

WALK = '''
"""A random walk with a checkpoint after every step.

Only here to be killed.
"""
import dataclasses, json, time
import numpy as np
from prefront.reports.claims import Claim
from prefront.runs.study import Study
from prefront.system.files import write_atomically

@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings.

    Attributes:
        steps: Length of the walk.
        pause: Seconds per step.
        trouble: What goes wrong: "", "raise", "die" or "hang".
    """
    steps: int = 25
    pause: float = 0.004
    trouble: str = ""

@dataclasses.dataclass(frozen=True)
class Cell:
    name: str

def cells(settings):
    return Cell("short"), Cell("long")

def run(settings, seed, job):
    state = {"steps": 0, "position": 0.0, "path": []}
    if job.checkpoint.exists():
        state = json.loads(job.checkpoint.read_text())
    while state["steps"] < settings.steps * (1 + (job.cell.name == "long")):
        step = np.random.default_rng([seed, len(job.cell.name), state["steps"]]).normal()
        position = state["position"] + step
        state = {"steps": state["steps"] + 1, "position": position, "path": [*state["path"], position]}
        half_written = job.folder / f"{state['steps']}.txt"
        half_written.write_text("only there when killed here")
        time.sleep(settings.pause)
        write_atomically(job.checkpoint, json.dumps(state))
        half_written.unlink()
        job.report(state["steps"], settings.steps, position=state["position"])
        print("noise on standard output")
        if settings.trouble == "raise" and job.cell.name == "long":
            raise FloatingPointError("no number at step 1")
        if settings.trouble == "die" and state["steps"] % 5 == 0 and job.cell.name == "long" and seed == 1:
            import os
            os._exit(9)
        if settings.trouble == "hang" and job.cell.name == "short" and seed == 0:
            time.sleep(1000)
    write_atomically(job.folder / "path.json", json.dumps(state["path"]))
    path = [{"step": i, "position": position} for i, position in enumerate(state["path"])]
    return {"metrics": path, "ends": [state | {"path": None}]}

def claims(results):
    ends = results["ends"]["position"]
    return [Claim("Walks end where they begin.", "-", "0", float(ends.mean()), "mean end", results.seeds, "undecided")]

def plot(results, folder):
    write_atomically(folder / "walk.svg", "".join(f"{x!r} " for x in results["metrics"]["position"].tolist()))
    return [folder / "walk.svg"]

STUDY = Study({"smoke": Settings(), "paper": Settings(steps=1000)}, run, [claims], [plot], cells, {"smoke": 2})
'''


@pytest.fixture
def walk(tmp_path, monkeypatch):
    (tmp_path / "random_walk.py").write_text(WALK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*options, out="runs"):
    return [sys.executable, "-m", "prefront.cli", "run", "random_walk.py", "--out", out, *options]


def contents(folder):
    """Every file below a folder by relative path, without what two runs may differ in."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json" and not path.name.startswith(("environment", "."))
    }


def test_killed_at_random_moments_a_run_ends_bit_identical(walk):
    subprocess.run(command("--jobs", "2", out="whole"), check=True, capture_output=True)
    whole = contents(walk / "whole" / "random_walk-smoke")
    assert {"claims.json", "figures/walk.svg", "seed-0/metrics.csv", "seed-1/long/path.json"} <= set(whole)
    folder = walk / "runs" / "random_walk-smoke"
    rng = random.Random(0)
    for attempt in range(5):
        before = contents(folder)
        process = subprocess.Popen(command("--jobs", str(1 + attempt % 2)), stdout=subprocess.DEVNULL)
        wait_until(lambda before=before: contents(folder) != before)
        time.sleep(rng.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(), check=True, capture_output=True)
    assert contents(folder) == whole
    timing = Run.load(folder, "random_walk.py").results().timing
    assert len(timing) == 4
    assert timing["attempts"].max() > 1
    assert (timing["peak_memory_mb"] > 10).all()


def test_killed_before_or_after_any_rename_a_run_ends_bit_identical(walk):
    config = Config("random_walk.py", "smoke", {**settings(), "steps": 3, "pause": 0.0}, 2)
    execute(Run.open(walk / "whole", config), 0, 60.0)

    def child(survived_renames, after):
        renames = 0
        rename = Path.replace

        def dying(self, target):
            nonlocal renames
            renames += 1
            if renames > survived_renames and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(self, target)
            if renames > survived_renames:
                os.kill(os.getpid(), signal.SIGKILL)

        Path.replace = dying
        os._exit(execute(Run.open(walk / "killed", config), 0, 60.0))

    rng = random.Random(1)
    deaths = 0
    while True:
        moment = rng.choice((1, 2, 3, 7)), rng.random() < 0.7
        pid = os.fork()
        if pid == 0:
            child(*moment)
        status = os.waitpid(pid, 0)[1]
        if not os.WIFSIGNALED(status):
            break
        deaths += 1
        assert deaths < 200
    assert os.waitstatus_to_exitcode(status) == 0
    assert deaths > 10
    assert contents(walk / "killed") == contents(walk / "whole")


def test_workers_end_with_the_process_that_started_them(walk):
    process = subprocess.Popen(command("--pause", "0.2", "--name", "slow"), stdout=subprocess.DEVNULL)
    unfinished = walk / "runs" / "slow" / "unfinished"
    wait_until(lambda: list(unfinished.rglob("checkpoint")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The workers hold the folder's lock as long as they live.
    with Run.load(walk / "runs" / "slow", "random_walk.py").lock():
        before = [path.read_bytes() for path in unfinished.rglob("checkpoint")]
        time.sleep(0.5)
        assert [path.read_bytes() for path in unfinished.rglob("checkpoint")] == before


def test_two_processes_never_work_in_one_folder(walk, monkeypatch):
    monkeypatch.setattr("prefront.runs.folders.LOCK_PATIENCE_SECONDS", 0.2)
    run = Run.open(walk / "runs" / "one", Config("random_walk.py", "smoke", settings(), 2))
    with run.lock(), pytest.raises(RunError, match="Another process"), run.lock():
        pass
    with run.lock():
        pass


def test_the_same_command_again_writes_nothing(walk):
    subprocess.run(command(), check=True, capture_output=True)
    folder = walk / "runs" / "random_walk-smoke"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = subprocess.run(command(), check=True, capture_output=True, text=True)
    assert "done already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_more_seeds_are_added_and_fewer_refused(walk):
    subprocess.run(command("--seeds", "1"), check=True, capture_output=True)
    folder = walk / "runs" / "random_walk-smoke"
    first = contents(folder / "seed-0")
    subprocess.run(command("--seeds", "3"), check=True, capture_output=True)
    assert contents(folder / "seed-0") == first
    assert read_config(folder).seeds == 3
    assert json.loads((folder / "claims.json").read_text())[0]["seeds"] == 3
    fewer = subprocess.run(command("--seeds", "2"), capture_output=True, text=True)
    assert fewer.returncode == 2
    assert "seeds: 3 in the folder, 2 asked for" in fewer.stderr


def test_a_run_has_the_seeds_that_it_names(walk):
    subprocess.run(command("--seeds", "2", "--first-seed", "1000"), check=True, capture_output=True)
    folder = walk / "runs" / "random_walk-smoke"
    assert {path.name for path in folder.glob("seed-*")} == {"seed-1000", "seed-1001"}
    assert Run.load(folder, "random_walk.py").results()["ends"].unique("seed") == [1000, 1001]
    other = subprocess.run(command("--seeds", "2"), capture_output=True, text=True)
    assert other.returncode == 2
    assert "first_seed: 1000 in the folder, 0 asked for" in other.stderr
    with pytest.raises(ValueError, match="got first_seed = -1"):
        Config("random_walk.py", "smoke", settings(), 2, first_seed=-1)


def test_another_config_is_refused_by_field(walk):
    asked = Config("random_walk.py", "smoke", settings(), 2)
    run = Run.open(walk / "one", asked)
    with run.lock():
        run.prepare()
    with pytest.raises(RunError, match=r"settings.steps: 25 in the folder, 26 asked for"):
        Run.open(walk / "one", Config("random_walk.py", "smoke", {**settings(), "steps": 26}, 2))
    with pytest.raises(RunError, match="device: 'cpu' in the folder, 'gpu' asked for"):
        Run.open(walk / "one", Config("random_walk.py", "smoke", settings(), 2, "gpu"))
    with pytest.raises(RunError, match="holds no run"):
        Run.open(walk, asked)


def test_a_job_that_raises_is_reported_and_the_others_go_on(walk):
    failed = subprocess.run(command("--trouble", "raise", "--name", "bad"), capture_output=True, text=True)
    assert failed.returncode == 1
    assert "FloatingPointError: no number at step 1" in failed.stdout
    assert "Traceback" in failed.stderr
    assert "2 of 4 jobs failed" in failed.stderr
    folder = walk / "runs" / "bad"
    assert (folder / "seed-1" / "short" / "metrics.csv").exists()
    assert not (folder / "claims.json").exists()


def test_a_process_that_dies_is_begun_again_from_its_checkpoint(walk):
    died = subprocess.run(command("--trouble", "die", "--name", "dead", "--steps", "4"), capture_output=True, text=True)
    # The walk of 8 steps dies at its 5th; begun again there, it reaches its end.
    assert died.returncode == 0
    timing = Run.load(walk / "runs" / "dead", "random_walk.py").results().timing
    assert timing.where(seed=1, cell="long")["attempts"].tolist() == [2]


def test_the_time_limit_ends_a_job_that_hangs(walk):
    hung = subprocess.run(
        command("--trouble", "hang", "--name", "hung", "--time-limit", "4"), capture_output=True, text=True
    )
    assert hung.returncode == 1
    assert "no end after 4 s, 2 times" in hung.stdout
    assert "1 of 4 jobs failed" in hung.stderr


def test_working_in_this_process_gives_the_same_files(walk):
    subprocess.run(command("--jobs", "0", out="here"), check=True, capture_output=True)
    subprocess.run(command(out="there"), check=True, capture_output=True)
    assert contents(walk / "here" / "random_walk-smoke") == contents(walk / "there" / "random_walk-smoke")


def test_a_damaged_config_is_named(walk):
    (walk / "runs" / "bad").mkdir(parents=True)
    (walk / "runs" / "bad" / "config.json").write_text('{"experiment": "random_wa')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        Run.load(walk / "runs" / "bad")


def test_a_run_of_another_version_is_said(walk):
    run = Run.open(walk / "old", Config("random_walk.py", "smoke", settings(), 2))
    with run.lock():
        run.prepare()
    elsewhere = walk / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "random_walk.py").write_text(WALK)
    assert Run.load(walk / "old", str(elsewhere / "random_walk.py")).config == run.config
    (walk / "random_walk.py").write_text(WALK.replace("steps: int = 25", "steps: int = 25\n    stride: float = 1.0"))
    with pytest.raises(RunError, match=r"made by 'random_walk.py' with SHA-256 '\w{64}', not by 'random_walk.py' with"):
        Run.load(walk / "old", "random_walk.py")
    with pytest.raises(RunError, match=r"study: '\w{64}' in the folder, '\w{64}' asked for"):
        Run.open(walk / "old", Config("random_walk.py", "smoke", {**settings(), "stride": 1.0}, 2))
    (walk / "random_walk.py").unlink()
    with pytest.raises(RunError, match=r"No experiment file 'random_walk\.py'"):
        Run.load(walk / "old", "random_walk.py")


def test_settings_of_another_version_are_said(tmp_path):
    run = Run.open(tmp_path, Config("identifiability", "smoke", settings("identifiability"), 1))
    with run.lock():
        run.prepare()
    stored = read_json(tmp_path / "config.json", dict)
    stored["settings"]["stride"] = 1.0
    (tmp_path / "config.json").write_text(signed_json(stored))
    with pytest.raises(RunError, match=r"differ in .'stride'"):
        Run.load(tmp_path)


def settings(experiment="random_walk.py"):
    return settings_to_dict(load_experiment(experiment).study.preset("smoke"))


def wait_until(condition, patience=30.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_stays_with_what_it_has_compiled():
    waiting = deque((seed, cell, 1) for cell in "ab" for seed in (0, 1, 2))
    last, taken = {1: None, 2: None}, []
    # The second worker is twice as fast.
    for worker in (1, 2, 2, 1, 2, 2):
        job = take_job(waiting, last[worker], {cell for other, cell in last.items() if other != worker})
        last[worker] = job[1]
        taken.append((worker, job[1], job[0]))
    assert taken == [(1, "a", 0), (2, "b", 0), (2, "b", 1), (1, "a", 1), (2, "b", 2), (2, "a", 2)]
    assert not waiting
