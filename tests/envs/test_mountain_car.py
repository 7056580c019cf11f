"""Mountain car against MO-Gymnasium: every transition from equal states, and whole episodes side by side."""

import jax
import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs.mountain_car import State
from prefront.tasks.environment import step

VARIANTS = {
    "": {},
    "-3d": {"add_speed_objective": True, "merge_move_penalty": True},
    "-timemove": {"merge_move_penalty": True},
    "-timespeed": {"remove_move_penalty": True, "add_speed_objective": True},
}


def state_of(theirs):
    position, velocity = theirs.unwrapped.state
    return State(np.float32(position), np.float32(velocity))


@pytest.mark.parametrize("variant", VARIANTS)
def test_transitions_and_episodes_equal_mo_gymnasium(variant):
    environment = prefront.make("MOMountainCar-v0", **VARIANTS[variant])
    theirs = mo_gym.make(f"mo-mountaincar{variant}-v0")
    assert environment.reward_dim == theirs.unwrapped.reward_dim
    advance = jax.jit(lambda state, action: step(environment, state, action, jax.random.key(0)))
    rng = np.random.default_rng(0)
    arrivals = walls = 0
    for episode in range(12):
        theirs.reset(seed=episode)
        running = state_of(theirs)
        ended = False
        while not ended:
            # Mostly along the velocity, which gathers swing; a start from the left wall is then common.
            action = int(np.where(rng.random() < 0.8, 2 * (running.velocity >= 0), rng.integers(3)))
            alone = jax.device_get(advance(state_of(theirs), action))
            running, _, reward, terminated = jax.device_get(advance(running, action))
            observation, wanted, ended, truncated, _ = theirs.step(action)
            np.testing.assert_allclose(alone.observation, observation, rtol=0, atol=2e-7)
            np.testing.assert_allclose(alone.reward, wanted, rtol=0, atol=2e-6)
            assert alone.terminated == terminated == ended
            np.testing.assert_allclose(running, observation, rtol=0, atol=2e-5)
            np.testing.assert_allclose(reward, wanted, rtol=0, atol=2e-5)
            assert environment.reward_space.contains(alone.reward)
            arrivals += ended
            walls += observation[0] == np.float32(-1.2)
            ended = ended or truncated
    assert arrivals > 5
    assert walls > 3


def test_starts_are_uniform_at_rest():
    environment = prefront.make("MOMountainCar-v0")
    states = jax.vmap(environment.initial)(jax.random.split(jax.random.key(0), 2000))
    counts, _ = np.histogram(states.position, bins=10, range=(-0.6, -0.4))
    assert counts.sum() == 2000
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # chi-square with 9 degrees of freedom, 0.999
    assert not np.any(states.velocity)


def test_goal_velocity_delays_the_arrival():
    fast = prefront.make("MOMountainCar-v0", goal_velocity=0.05)
    at_goal = State(np.float32(0.5), np.float32(0.04))
    assert not fast.terminal(at_goal, jax.random.key(0))
    assert prefront.make("MOMountainCar-v0").terminal(at_goal, jax.random.key(0))
