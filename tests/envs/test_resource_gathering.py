"""Resource gathering against MO-Gymnasium: equal outcomes from equal states, at the stated probabilities."""

import gymnasium as gym
import mo_gymnasium as mo_gym
import numpy as np

import prefront

SAFE_WALK = (2, 0, 0, 0, 0, 3, 2, 1, 1, 3, 3, 3, 0, 1, 1, 1, 2, 2)


def test_transitions_equal_mo_gymnasium_in_distribution(replay_finite):
    # Upwards, where gold, diamond and enemies are.
    ends = replay_finite(
        prefront.make("ResourceGathering-v0"), mo_gym.make("resource-gathering-v0"), 8000, [0.4, 0.15, 0.2, 0.25]
    )
    assert ends > 200


def test_walk_around_the_enemies_brings_both_home():
    for env in (
        mo_gym.make("resource-gathering-v0"),
        gym.make("prefront/ResourceGathering-v0", disable_env_checker=True),
    ):
        env.reset(seed=0)
        for action in SAFE_WALK:
            _, reward, terminated, _, _ = env.step(action)
        assert terminated
        assert np.array_equal(reward, [0, 1, 1])
