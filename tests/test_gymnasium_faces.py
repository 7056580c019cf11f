"""The Gymnasium faces: what Gymnasium promises of them, beyond what the conformance checker asserts of every id."""

import pickle

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import prefront
from prefront.gymnasium_faces import VectorEnvironment
from prefront.registration import make

IDS = sorted(prefront.registration.ENVIRONMENTS)


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_accepts_the_single_face(id):
    check_env(gym.make(id, disable_env_checker=True).unwrapped)


@pytest.mark.parametrize("id", ["prefront/DeepSeaTreasure-v0", "prefront/BreakableBottles-v0"])
def test_pickled_vector_faces_go_on_identically(id):
    env = gym.make_vec(id, num_envs=2)
    env.reset(seed=1)
    env.action_space.seed(0)
    for _ in range(3):
        env.step(env.action_space.sample())
    copy = pickle.loads(pickle.dumps(env))
    for _ in range(5):
        action = env.action_space.sample()
        mine, theirs = env.step(action), copy.step(action)
        jax.tree.map(np.testing.assert_array_equal, mine[:4], theirs[:4])


@pytest.mark.parametrize("id", IDS)
def test_rendering_gives_pictures(id):
    env = gym.make(id, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    for action in range(int(env.action_space.n)):
        env.step(action)
    assert env.render().shape == first.shape


@pytest.mark.parametrize("id", IDS)
def test_registered_limit_is_the_environments_own(id):
    limit = prefront.make(id).max_episode_steps
    assert gym.spec(id).max_episode_steps in (None, limit)
    assert gym.make(id).unwrapped.environment.max_episode_steps == limit


def test_make_without_importing_prefront_first():
    assert gym.make("prefront:prefront/DeepSeaTreasure-v0").reset(seed=0)[0].shape == (2,)


def test_bad_input_is_named():
    env = gym.make("prefront/DeepSeaTreasure-v0").unwrapped
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="4"):
        env.step(4)
    with pytest.raises(ValueError, match="DISABLED"):
        gym.make_vec("prefront/DeepSeaTreasure-v0", autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="human"):
        prefront.gymnasium_faces.make_single("prefront.envs.deep_sea_treasure:DeepSeaTreasure", render_mode="human")
    with pytest.raises(KeyError, match="DeepSeaTreasure-v0"):
        prefront.make("DeepSeaTresure-v0")


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "2", float("nan"), 2**40])
@pytest.mark.parametrize("name", ["num_envs", "max_episode_steps"])
def test_counts_of_a_vector_are_whole_numbers(name, wrong):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got {wrong!r}"):
        VectorEnvironment(make("prefront/DeepSeaTreasure-v0"), **{"num_envs": 1, name: wrong})
