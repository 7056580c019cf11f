"""A real study, killed while it trains, ends bit-identical to one that was not."""

import random
import signal
import subprocess
import sys
import time

import pytest

from prefront.runs.job_folders import Timing
from prefront.system.files import read_json

COMMAND = [sys.executable, "-m", "prefront.cli", "run", "pareto_discovery", "--environments", "FruitTree"]
COMMAND += ["--seeds", "1", "--name", "run", "--test-episodes", "2", "--budget", "1.0"]


def contents(folder):
    varying = ("timing.json", "summary.md", "summary.tex")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        # The list at the top covers the summary, which tells seconds.
        if path.is_file() and path.name not in varying and path != folder / "checksums.json"
        if not path.name.startswith(("environment", "."))
    }


def checkpoints(folder):
    """The time at which each checkpoint of unfinished jobs was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "unfinished").glob("*/*/checkpoint/*.safetensors")}


@pytest.mark.slow
def test_training_killed_at_random_moments_ends_bit_identical(tmp_path):
    subprocess.run([*COMMAND, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    whole = contents(tmp_path / "whole" / "run")
    folder = tmp_path / "killed" / "run"
    command = [*COMMAND, "--out", str(tmp_path / "killed")]
    rng = random.Random(0)
    kills = 0
    for _ in range(3):
        before = checkpoints(folder)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and checkpoints(folder) in (before, {}):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    subprocess.run(command, check=True, capture_output=True)
    stored = (read_json(path, Timing) for path in (folder / "seed-0").glob("*/timing.json"))
    assert max(timing.spent["attempts"] for timing in stored) > 1
    assert contents(folder) == whole
