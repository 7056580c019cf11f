"""Work that is killed thirty times at random moments ends as if it never had been, and leaves nothing behind."""

import random
import subprocess
import sys
import time

import pytest

TRAINING = """
import sys
from prefront.runtime import use_compilation_cache, use_one_thread
use_one_thread()
use_compilation_cache()
from prefront.agents.cmorl import CMORLConfig, train
from prefront.learning.learner import LearnerConfig
config = CMORLConfig(
    learner=LearnerConfig(network="tabular", copies=4, steps=12, learning_rate=3e-2, entropy=0.05, action_bias=2.0),
    population=8, total_steps=8 * 4 * 12 * 60, updates_per_evaluation=1, extension_updates=3, weights="random",
    checkpoint_evaluations=2, discount=0.99, reference_point=(-1.0,) * 6,
)
print("begun", flush=True)
train(sys.argv[1], config, 1, checkpoint=sys.argv[2]).front.save(sys.argv[2] + "/front")
"""
STUDY = """
import sys
from prefront.cli import main
print("begun", flush=True)
sys.exit(main(["run", "identifiability", "--preset", "smoke", "--jobs", "0", "--out", sys.argv[2], "--name", "run"]))
"""
SUBJECTS = {
    "a study": (STUDY, "-"),
    "training, compiled": (TRAINING, "prefront/FruitTree-v0"),
    "training, on the host": (TRAINING, "fruit-tree-v0"),
}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timing.json", ".lock") and not path.name.startswith("environment")
    }


def begin(subject, folder):
    program, argument = SUBJECTS[subject]
    command = [sys.executable, "-c", program, argument, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"begun\n"
    return process


def end(subject, folder):
    """Seconds until the work is done."""
    start, process = time.monotonic(), begin(subject, folder)
    process.communicate()
    assert process.returncode == 0
    return time.monotonic() - start


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_thirty_kills_change_nothing_and_leave_nothing(tmp_path, subject):
    end(subject, tmp_path / "first")  # Compiles.
    seconds = end(subject, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "first") == whole
    rng = random.Random(subject)
    kills = 0
    for number in range(40):
        if kills >= 10:
            break
        folder = tmp_path / str(number)
        for _ in range(2):
            process = begin(subject, folder)
            time.sleep(rng.uniform(0.0, 0.7 * seconds))
            process.kill()
            kills += process.wait() < 0
            process.stdout.close()
        end(subject, folder)
        assert contents(folder) == whole
        assert not list(folder.rglob("*.tmp"))
        assert not (folder / "run" / "unfinished").exists()
    assert kills >= 10
