"""The exact front of resource gathering, walked in MO-Gymnasium's own environment; see docs/."""

import jax
import mo_gymnasium as mo_gym
import moocore
import numpy as np
import pytest

from prefront.envs.resource_gathering import UNDERWAY, ResourceGathering
from prefront.exact.pareto_policies import pareto_policies
from prefront.exact.pareto_sets import pareto_front

SAFE_WALK = [2, 0, 0, 0, 0, 3, 2, 1, 1, 3, 3, 3, 0, 1, 1, 1, 2, 2]
EPISODES = 800
REFERENCE = [-1, -1, -2]


@pytest.fixture(scope="module")
def found():
    return ResourceGathering().enumeration()


@pytest.fixture(scope="module")
def theirs():
    return mo_gym.make("resource-gathering-v0").unwrapped


def numbers_under_way(found):
    """State numbers by MO-Gymnasium's observation, of the states in which an episode goes on."""
    states = jax.tree.map(np.asarray, found.states)
    return {
        (*cell.tolist(), *carried.tolist()): number
        for number, (cell, carried, fate) in enumerate(zip(*states, strict=True))
        if fate == UNDERWAY
    }


def returns_of(policy, environment, numbers, gamma, episodes):
    found = np.zeros((episodes, 3))
    for episode in range(episodes):
        observation, _ = environment.reset(seed=episode)
        policy.reset()
        ended, discount = False, 1.0
        while not ended:
            action = policy.act(numbers[tuple(observation.tolist())])
            observation, reward, ended, _, _ = environment.step(action)
            found[episode] += discount * reward
            discount *= gamma
    return found


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.98, 0.9])
def test_every_exact_point_is_attained_in_mo_gymnasium(found, theirs, gamma):
    numbers = numbers_under_way(found)
    for policy, point in zip(pareto_policies(found.table, gamma), pareto_front(found.table, gamma), strict=True):
        safe = point[0] == 0.0
        returns = returns_of(policy, theirs, numbers, gamma, 50 if safe else EPISODES)
        if safe:
            assert np.allclose(returns, point, atol=1e-12)
        else:
            error = returns.std(axis=0, ddof=1) / np.sqrt(len(returns))
            assert (np.abs(returns.mean(axis=0) - point) <= 4 * error + 1e-12).all()


@pytest.mark.parametrize("gamma", [0.99, 0.98, 0.9])
def test_the_safe_walk_dominates_published_points(found, theirs, gamma):
    for episode in range(50):
        theirs.reset(seed=episode)
        rewards = np.array([theirs.step(action)[1:3] for action in SAFE_WALK], dtype=object)
        assert [ended for _, ended in rewards] == [False] * 17 + [True]
        total = sum(gamma**t * reward for t, (reward, _) in enumerate(rewards))
        assert np.allclose(total, [0.0, gamma**17, gamma**17], atol=1e-12)
    front = pareto_front(found.table, gamma)
    assert np.abs(front - [0.0, gamma**17, gamma**17]).max(axis=1).min() < 1e-12
    published = np.array(theirs.pareto_front(gamma))
    # A later reward is worth less, so the published points are dominated; one of them at 0.9 is a walk with a pause.
    for point in published:
        assert (front >= point - 1e-12).all(axis=1).any()
    attained = np.array([np.abs(front - point).max(axis=1).min() < 1e-9 for point in published])
    assert attained.sum() == (gamma == 0.9)
    assert moocore.hypervolume(front, ref=REFERENCE, maximise=True) > moocore.hypervolume(
        published, ref=REFERENCE, maximise=True
    )


def test_a_reward_in_step_t_is_discounted_once_less_than_published(theirs):
    # The diamond and home again in 10 steps without passing an enemy.
    theirs.reset(seed=0)
    gamma, walk = 0.99, [3, 3, 0, 0, 0, 1, 1, 1, 2, 2]
    rewards = [theirs.step(action)[1] for action in walk]
    total = sum(gamma**t * reward for t, reward in enumerate(rewards))
    assert np.allclose(total, [0, 0, gamma**9], atol=1e-12)
    published = np.array(theirs.pareto_front(gamma))
    assert np.abs(published - [0, 0, gamma**10]).max(axis=1).min() < 1e-12
