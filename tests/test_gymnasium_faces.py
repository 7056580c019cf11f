"""The Gymnasium faces: what Gymnasium promises of them, and that both tell the same story."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import prefront

IDS = sorted(prefront.registration.ENVIRONMENTS)


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_accepts_the_single_face(id):
    check_env(gym.make(id, disable_env_checker=True).unwrapped)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_face_equals_single_faces_and_gymnasiums_own_vector(mode):
    number, seed = 3, 7
    ours = gym.make_vec("prefront/DeepSeaTreasure-v0", num_envs=number, autoreset_mode=mode, max_episode_steps=12)
    rng = np.random.default_rng(0)
    singles = [gym.make("prefront/DeepSeaTreasure-v0", max_episode_steps=12) for _ in range(number)]
    observation, _ = ours.reset(seed=seed)
    expected = [env.reset(seed=seed + i)[0] for i, env in enumerate(singles)]
    assert np.array_equal(observation, expected)
    must_reset = np.zeros(number, bool)
    ends = truncations = 0
    for _ in range(200):
        actions = rng.choice(4, number, p=[0.1, 0.4, 0.1, 0.4])
        observation, reward, terminated, truncated, info = ours.step(actions)
        assert reward.shape == (number, 2)
        assert reward.dtype == np.float32
        for i, env in enumerate(singles):
            if mode == AutoresetMode.NEXT_STEP and must_reset[i]:
                assert np.array_equal(observation[i], env.reset()[0])
                assert not reward[i].any()
                assert not terminated[i]
                assert not truncated[i]
                must_reset[i] = False
                continue
            wanted = env.step(actions[i])
            assert np.array_equal(reward[i], wanted[1])
            assert (terminated[i], truncated[i]) == wanted[2:4]
            must_reset[i] = terminated[i] or truncated[i]
            ends += terminated[i]
            truncations += truncated[i]
            if mode == AutoresetMode.SAME_STEP and must_reset[i]:
                assert info["_final_obs"][i]
                assert np.array_equal(info["final_obs"][i], wanted[0])
                assert np.array_equal(observation[i], env.reset()[0])
            else:
                assert np.array_equal(observation[i], wanted[0])
    assert ends > 5
    assert truncations > 5


@pytest.mark.parametrize("id", IDS)
def test_pickled_faces_go_on_identically(id):
    for env in (gym.make(id).unwrapped, gym.make_vec(id, num_envs=2)):
        env.reset(seed=1)
        env.action_space.seed(0)
        for _ in range(3):
            env.step(env.action_space.sample())
        copy = pickle.loads(pickle.dumps(env))
        for _ in range(5):
            action = env.action_space.sample()
            mine, theirs = env.step(action), copy.step(action)
            for a, b in zip(mine[:4], theirs[:4], strict=True):
                if isinstance(a, dict):
                    assert all(np.array_equal(a[name], b[name]) for name in a)
                else:
                    assert np.array_equal(a, b)


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
def test_attributes_of_the_contract(id):
    env = gym.make(id).unwrapped
    assert env.reward_space.shape == (env.reward_dim,) == env.reference_point.shape
    assert len(env.objective_names) == env.reward_dim
    assert env.environment.max_episode_steps == (gym.spec(id).max_episode_steps or env.environment.max_episode_steps)
    assert 0 < env.discount <= 1


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
