"""Conditioned PPO: one network finds the whole front of the sea; runs resume and fail as those of C-MORL do."""

import dataclasses

import jax
import numpy as np
import pytest

import prefront
from prefront.agents.conditioned_ppo import LEARNER, TUNED, Config, train
from prefront.learning.learner_config import LearnerConfig
from prefront.policies.conditioned import ConditionedPolicy
from prefront.policies.scores import ReferenceFront, utility_lattice
from prefront.system.failures import TrainingFailure

SEA = "prefront/DeepSeaTreasure-v0"
SMALL = Config(
    learner=dataclasses.replace(LEARNER, num_envs=8, steps=16, hidden=(8,)),
    total_steps=8 * 16 * 2 * 5,
    updates_per_evaluation=2,
)


def same(first, second):
    for a, b in zip(
        jax.tree.leaves(first.solution.parameters), jax.tree.leaves(second.solution.parameters), strict=True
    ):
        assert a.tobytes() == b.tobytes()
    assert first.history.to_csv() == second.history.to_csv()
    assert first.evaluation_steps == second.evaluation_steps


def check_that_one_network_is_exact(seed):
    environment = prefront.make(SEA)
    result = train(environment, TUNED[SEA], seed)
    front = result.solution.front(episodes=1)
    score = ReferenceFront.of(environment).score(front.returns)
    assert result.environment_steps <= 200_000
    assert (score["points_found"], score["true_points"]) == (10, 10)
    assert score["share"] == pytest.approx(1.0, abs=1e-5)
    assert result.history["hypervolume"][-1] == pytest.approx(environment.max_hypervolume(), rel=1e-5)


def test_one_network_holds_all_ten_points_of_the_exact_front():
    check_that_one_network_is_exact(100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1005))
def test_one_network_holds_all_ten_points_on_every_seed(seed):
    check_that_one_network_is_exact(seed)


class Stopped(Exception):  # noqa: N818 (it stands for a kill)
    pass


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path):
    whole = train(SEA, SMALL, 1)
    assert len(whole.history["hypervolume"]) == 5

    def stop(done, total, **figures):
        if done == 2 * 8 * 16 * 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(SEA, SMALL, 1, report=stop, checkpoint=tmp_path)
    told = []
    for _ in range(2):
        again = train(SEA, SMALL, 1, report=lambda done, total, **figures: told.append(done), checkpoint=tmp_path)
        same(whole, again)
        assert len(told) == 3
    with pytest.raises(ValueError, match=r"another run.*seed"):
        train(SEA, SMALL, 2, checkpoint=tmp_path)


def test_the_result_counts_steps_and_its_history_is_what_its_policy_earns(tmp_path):
    result = train("DeepSeaTreasure-v0", SMALL, 0)
    assert result.environment_steps == SMALL.total_steps == result.history["environment_steps"][-1]
    assert (np.diff(result.history["evaluation_steps"]) > 0).all()
    assert result.evaluation_steps == result.history["evaluation_steps"][-1] == result.solution.evaluation_steps
    lattice = utility_lattice(2)
    earned = result.solution.evaluate(episodes=1, weights=lattice)
    assert result.history["expected_utility"][-1] == pytest.approx((earned * lattice).sum(1).mean(), rel=1e-5)
    result.solution.save(tmp_path)
    loaded = ConditionedPolicy.load(tmp_path)
    assert np.array_equal(loaded.evaluate(episodes=1), earned)


def test_what_is_not_finite_stops_the_run_and_names_the_moment(tmp_path):
    ill = dataclasses.replace(SMALL, learner=dataclasses.replace(SMALL.learner, learning_rate=1e25))
    message = r"prefront/DeepSeaTreasure-v0, learner 0: the \w+ is not finite in evaluation 1 \(after 0 steps"
    with pytest.raises(TrainingFailure, match=message) as caught:
        train(SEA, ill, 0, checkpoint=tmp_path)
    assert caught.value.checkpoint is None


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="deep-sea-treasure-v0 is stepped on the host"):
        train("deep-sea-treasure-v0", dataclasses.replace(SMALL, discount=0.9, reference_point=(0.0, -50.0)), 0)
    with pytest.raises(ValueError, match="tabular network needs a bounded integer"):
        train(SEA, dataclasses.replace(SMALL, learner=LearnerConfig(network="tabular")), 0)
    with pytest.raises(ValueError, match="reference point has length 3"):
        train(SEA, dataclasses.replace(SMALL, reference_point=(0.0, 0.0, 0.0)), 0)
    with pytest.raises(ValueError, match=r"concentration must be positive.*0\.0"):
        dataclasses.replace(SMALL, concentration=0.0)
    with pytest.raises(ValueError, match="total_steps"):
        dataclasses.replace(SMALL, total_steps=0)
