"""Fruit tree against MO-Gymnasium, transition by transition, and the generated trees against their description."""

import gymnasium as gym
import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs.fruit_tree import generated_leaves


@pytest.mark.parametrize("depth", [5, 6, 7])
def test_transitions_equal_mo_gymnasium(replay_finite, depth):
    ends = replay_finite(prefront.make("FruitTree-v0", depth=depth), mo_gym.make("fruit-tree-v0", depth=depth), 3000)
    assert ends == 3000 // depth


@pytest.mark.parametrize(("depth", "objectives"), [(6, 6), (8, 9), (3, 2)])
def test_every_leaf_is_worth_what_it_should(depth, objectives):
    seed = None if (depth, objectives) == (6, 6) else 0
    env = gym.make("prefront/FruitTree-v0", depth=depth, objectives=objectives, seed=seed, disable_env_checker=True)
    leaves = np.asarray(env.unwrapped.environment.default_params.leaves)
    for leaf in range(0, 2**depth, 7):
        env.reset(seed=0)
        for level in range(depth):
            observation, reward, terminated, truncated, _ = env.step(leaf >> (depth - 1 - level) & 1)
            assert not truncated
            assert terminated == (level == depth - 1)
            if not terminated:
                assert not reward.any()
        assert np.array_equal(observation, [depth, leaf])
        assert np.array_equal(reward, leaves[leaf])


def test_generated_leaves_lie_on_the_sphere_and_are_reproducible():
    leaves = generated_leaves(8, 9, 0)
    assert leaves.shape == (256, 9)
    assert (leaves >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(leaves, axis=1), 10, atol=1e-7)
    np.testing.assert_allclose(leaves[0, :3], [4.61190347, 1.04616307, 2.55879318], atol=1e-8)
    assert not np.array_equal(leaves, generated_leaves(8, 9, 1))


def test_bad_trees_are_named():
    for wrong, words in (
        ({"depth": 8}, "depth=8"),
        ({"objectives": 5}, "objectives=5"),
        ({"depth": 0, "seed": 0}, "got 0"),
        ({"objectives": 10, "seed": 0}, "between 2 and 9, got 10"),
    ):
        with pytest.raises(ValueError, match=words):
            prefront.make("FruitTree-v0", **wrong)
