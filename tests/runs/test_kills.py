"""Work that is killed thirty times at random moments ends as if it never had been, and leaves nothing behind."""

import multiprocessing
import random
import time

import pytest

TRAINING = """
from prefront.agents.cmorl import CMORLConfig, train
from prefront.learning.learner_config import LearnerConfig
config = CMORLConfig(
    learner=LearnerConfig(network="tabular", num_envs=4, steps=12, learning_rate=3e-2, entropy=0.05, action_bias=2.0),
    population=8, total_steps=8 * 4 * 12 * 60, updates_per_evaluation=1, extension_updates=3, weights="random",
    checkpoint_evaluations=2, discount=0.99, reference_point=(-1.0,) * 6,
)
train(id, config, 1, checkpoint=folder).solution.save(folder + "/front")
"""
STUDY = """
from prefront.cli import main
assert main(["run", id, "--preset", "smoke", "--jobs", "0", "--out", folder, "--name", "run"]) == 0
"""
SUBJECTS = {
    "a study": (STUDY, "identifiability"),
    "training, compiled": (TRAINING, "prefront/FruitTree-v0"),
    "training, on the host": (TRAINING, "fruit-tree-v0"),
}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timing.json", ".lock") and not path.name.startswith("environment")
    }


# Each attempt is a process of its own, forked from one that has imported everything and computed nothing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["prefront.cli", "prefront.agents.cmorl", "prefront.experiments.identifiability"])


def begin(subject, folder):
    program, id = SUBJECTS[subject]
    process = PROCESSES.Process(target=exec, args=(program, {"id": id, "folder": str(folder)}))
    process.start()
    return process


def end(subject, folder):
    """Seconds until the work is done."""
    start, process = time.monotonic(), begin(subject, folder)
    process.join()
    assert process.exitcode == 0
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
            time.sleep(rng.uniform(0.0, 0.8 * seconds))
            process.kill()
            process.join()
            kills += process.exitcode < 0
        end(subject, folder)
        assert contents(folder) == whole
        assert not list(folder.rglob("*.tmp"))
        assert not (folder / "run" / "unfinished").exists()
    assert kills >= 10
