"""The Gymnasium faces: what Gymnasium promises of them, beyond what the conformance checker asserts of every id."""

import functools
import os
import pickle

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import prefront
from prefront.tasks.gymnasium_api import VectorEnvironment
from prefront.tasks.registry import make

IDS = sorted(prefront.tasks.registry.ENVIRONMENTS)


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
        prefront.tasks.gymnasium_api.make_single("prefront/DeepSeaTreasure-v0", render_mode="human")
    with pytest.raises(KeyError, match="DeepSeaTreasure-v0"):
        prefront.make("DeepSeaTresure-v0")


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "2", float("nan"), 2**40])
@pytest.mark.parametrize("name", ["num_envs", "max_episode_steps"])
def test_counts_of_a_vector_are_whole_numbers(name, wrong):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got {wrong!r}"):
        VectorEnvironment(make("prefront/DeepSeaTreasure-v0"), **{"num_envs": 1, name: wrong})


@pytest.mark.parametrize("wrong", [1.0, 1.9, -0.5, "1", -1, 4, True, None, 2**70, [1]])
def test_actions_that_a_discrete_space_does_not_hold_are_refused_before_any_cast(wrong):
    env = gym.make("prefront/DeepSeaTreasure-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="Discrete\\(4\\)"):
        env.step(wrong)
    many = gym.make_vec("prefront/DeepSeaTreasure-v0", num_envs=2)
    many.reset(seed=0)
    with pytest.raises(ValueError, match="MultiDiscrete"):
        many.step([wrong, wrong])
    with pytest.raises(ValueError, match="MultiDiscrete"):
        many.step(np.array([True, False]))
    assert np.array_equal(many.step([3, 1])[0], many.reset(seed=0)[0] + [[0, 1], [1, 0]])


@pytest.mark.parametrize("kind", [list, tuple, np.array, jax.numpy.array])
def test_a_sequence_of_seeds_seeds_each_copy_as_a_single_environment(kind):
    seeds = [7, 1, 7]
    many = gym.make_vec("prefront/ResourceGathering-v0", num_envs=3)
    many.reset(seed=kind(seeds))
    one = gym.make("prefront/ResourceGathering-v0")
    singles = []
    for seed in seeds:
        one.reset(seed=seed)
        singles.append(np.array([one.step(action)[0] for action in (0, 0, 2, 2)]))
    found = np.array([many.step(np.full(3, action))[0] for action in (0, 0, 2, 2)])
    np.testing.assert_array_equal(found, np.stack(singles, 1))


@pytest.mark.parametrize("wrong", [1.5, -1, "1", True, np.array([1, 2, 3]), np.array([1.0, 2.0]), [1, -1]])
def test_wrong_seeds_are_named(wrong):
    many = gym.make_vec("prefront/DeepSeaTreasure-v0", num_envs=2)
    with pytest.raises(ValueError, match="seed"):
        many.reset(seed=wrong)
    with pytest.raises(ValueError, match="seed"):
        gym.make("prefront/DeepSeaTreasure-v0").unwrapped.reset(seed=wrong)


def test_a_mask_resets_only_the_copies_that_it_marks():
    many = gym.make_vec("prefront/DeepSeaTreasure-v0", num_envs=3)
    with pytest.raises(ValueError, match="first reset"):
        many.reset(options={"reset_mask": np.array([True, False, False])})
    many.reset(seed=0)
    many.step(np.array([3, 3, 3]))
    many.step(np.array([3, 3, 3]))
    found, _ = many.reset(options={"reset_mask": np.array([True, False, False])})
    assert found.tolist() == [[0, 0], [0, 2], [0, 2]]
    assert many.step(np.array([3, 3, 3]))[0].tolist() == [[0, 1], [0, 3], [0, 3]]
    found, _ = pickle.loads(pickle.dumps(many)).reset(options={"reset_mask": np.array([False, True, False])})
    assert found.tolist() == [[0, 1], [0, 0], [0, 3]]
    for wrong in (np.array([True, False]), [True, False, False], np.array([1, 0, 0]), np.zeros(3, bool)):
        with pytest.raises(ValueError, match="reset_mask"):
            many.reset(options={"reset_mask": wrong})


def test_pictures_before_the_first_reset_are_refused():
    for env in (
        gym.make("prefront/DeepSeaTreasure-v0", render_mode="rgb_array").unwrapped,
        gym.make_vec("prefront/DeepSeaTreasure-v0", num_envs=2, render_mode="rgb_array"),
    ):
        with pytest.raises(RuntimeError, match="reset"):
            env.render()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only systems with fork can hang after one")
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_a_forked_process_says_what_to_do_instead_of_hanging():
    make = functools.partial(gym.make, "prefront/DeepSeaTreasure-v0", disable_env_checker=True)
    make().reset(seed=0)
    many = gym.vector.AsyncVectorEnv([make], context="fork")
    with pytest.raises(RuntimeError, match=r"spawn.*make_vec"):
        many.reset(seed=0)
    many.close(terminate=True)
