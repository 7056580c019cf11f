"""A population spread over devices finds what it finds on one: sums over learners differ in the last digits only."""

import os
import subprocess
import sys

import pytest

from prefront.agents.cmorl import CMORLConfig, train

SCRIPT = """
import dataclasses
import jax
import numpy as np
import prefront
from prefront.agents.cmorl import CMORLConfig, train
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.trainer import Trainer

advance, seen = Trainer.advance, []

def listening(trainer, population, schedule):
    after = advance(trainer, population, schedule)
    seen.append(after[0].learners.policy["weights"]["table"])
    return after

Trainer.advance = listening

assert len(jax.devices()) == 2
learner = LearnerConfig(network="tabular", num_envs=4, steps=12, learning_rate=3e-2, entropy=0.05, action_bias=2.0)
one = CMORLConfig(learner=learner, population=8, total_steps=8 * 4 * 12 * 12, updates_per_evaluation=1,
                  extension_updates=3, weights="random")
environment = prefront.make("FruitTree-v0", depth=4, objectives=3, seed=0)
runs = []
for config in (one, dataclasses.replace(one, devices=2)):
    result = train(environment, config, 0)
    tables = seen[-1]
    assert len(tables.sharding.device_set) == config.devices
    if config.devices == 2:
        assert {shard.data.shape[0] for shard in tables.addressable_shards} == {4}
    runs.append((np.asarray(tables), result))
(tables, first), (spread, second) = runs
assert len(first.solution) > 1 and set(first.history["stage"]) == {1, 2}
np.testing.assert_allclose(first.solution.returns, second.solution.returns, rtol=1e-5)
np.testing.assert_allclose(tables, spread, atol=1e-3)
assert np.abs(tables).max() > 1
"""


def test_two_devices_find_the_front_of_one():
    # In front, because XLA reads no flag behind the first word that is none.
    flags = f"--xla_force_host_platform_device_count=2 {os.environ.get('XLA_FLAGS', '')}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_population_that_cannot_be_spread_is_refused():
    with pytest.raises(ValueError, match="population=9 must be a multiple of devices=2"):
        CMORLConfig(population=9, devices=2)
    with pytest.raises(ValueError, match="devices=64 were asked for, but jax sees"):
        train("prefront/FruitTree-v0", CMORLConfig(population=64, devices=64), 0)
