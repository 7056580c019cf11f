"""The best known fronts of minecart, replayed in MO-Gymnasium's own environments."""

import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs import minecart
from prefront.pareto.indicators import hypervolume, non_dominated
from prefront.tasks.known_fronts import load_plans, replay

PLANS = load_plans(minecart.PLANS)


def return_in_mo_gymnasium(env, plan, gamma):
    env.reset(seed=0)
    total, terminated = np.zeros(3), False
    for t, action in enumerate(plan):
        assert not terminated
        _, reward, terminated, _, _ = env.step(int(action))
        total += gamma**t * reward
    assert terminated
    return total


@pytest.mark.parametrize("gamma", [0.98, 1.0])
def test_every_plan_earns_its_return_in_mo_gymnasium(gamma):
    env = prefront.make("MinecartDeterministic-v0")
    mo_env = mo_gym.make("minecart-deterministic-v0").unwrapped
    theirs = np.stack([return_in_mo_gymnasium(mo_env, plan, gamma) for plan in PLANS])
    rewards = replay(env, PLANS)
    ours = np.einsum("t,pto->po", gamma ** np.arange(rewards.shape[1]), rewards)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    front = env.pareto_front(gamma)
    assert non_dominated(front).all()
    assert np.abs(front[:, None] - theirs[None]).max(axis=2).min(axis=1).max() < 1e-5
    assert env.max_hypervolume(gamma) == pytest.approx(hypervolume(theirs, env.reference_point), abs=0.01)


def test_the_front_beats_those_known_before():
    env = prefront.make("MinecartDeterministic-v0")
    assert env.front_kind == "best known"
    assert env.max_hypervolume() > 762.53
    published = mo_gym.make("minecart-deterministic-v0").unwrapped.pareto_front(0.98)
    assert hypervolume(published, env.reference_point) == pytest.approx(723.048, abs=0.01)
    # What the published list has beside is next to nothing.
    assert hypervolume(np.vstack([env.pareto_front(), published]), env.reference_point) < 1.001 * env.max_hypervolume()


@pytest.mark.slow
def test_stochastic_front_is_the_expectation_of_its_plans():
    env = prefront.make("Minecart-v0")
    assert env.front_kind == "best known"
    rewards = replay(env, PLANS, samples=2048)
    mo_env = mo_gym.make("minecart-v0").unwrapped
    np.random.seed(0)  # noqa: NPY002 (MO-Gymnasium draws from the global generator)
    for i in np.random.default_rng(0).choice(len(PLANS), 2, replace=False):
        episodes = np.stack([return_in_mo_gymnasium(mo_env, PLANS[i], 1.0) for _ in range(64)])
        error = episodes.std(axis=0) / 8
        assert (np.abs(rewards[i].sum(axis=0) - episodes.mean(axis=0)) < 4 * error + 2e-3).all()
    again = replay(env, PLANS, samples=2048)
    np.testing.assert_array_equal(rewards, again)


def test_unpublished_minecarts_have_no_front():
    with pytest.raises(NotImplementedError, match="Minecart"):
        prefront.make("MinecartDeterministic-v0", frame_skip=2).pareto_front()
