"""Shown weights: the environment is the same but for what is shown and paid, and folding gives an ordinary policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import prefront
from prefront.learning.conditioning import DirichletWeights, fold, folded_network, show
from prefront.learning.networks import PolicyNetwork
from prefront.tasks import environment as functional

SEA = prefront.make("DeepSeaTreasure-v0")
TREE = prefront.make("FruitTree-v0")


@pytest.mark.parametrize("base, kind", [(SEA, "mlp"), (SEA, "one-hot"), (TREE, "one-hot")])
def test_a_folded_policy_acts_as_the_conditioned_one_that_is_shown_the_weights(base, kind):
    shown = show(base)
    network = PolicyNetwork.for_spaces(shown.observation_space, shown.action_space, kind, (16,))
    parameters = network.init(jax.random.key(0))
    ordinary = folded_network(network, base.reward_dim)
    assert ordinary == PolicyNetwork.for_spaces(base.observation_space, base.action_space, kind, (16,))
    for seed in range(5):
        state, observation = functional.reset(shown, jax.random.key(seed))
        one = network.distribution(parameters, observation).logits
        other = ordinary.distribution(fold(network, parameters, state.weights), observation["observation"]).logits
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_environment_itself_draws_what_it_draws_without_weights():
    shown, key = show(TREE), jax.random.key(3)
    state, observation = functional.reset(shown, key)
    own, seen = functional.reset(TREE, key)
    for action in [0, 1, 1, 0, 1, 0]:
        weights = state.weights
        step = functional.step(shown, state, jnp.int32(action), key)
        alone = functional.step(TREE, own, jnp.int32(action), key)
        assert np.array_equal(observation["observation"], seen)
        np.testing.assert_allclose(step.reward, weights * alone.reward, rtol=1e-6)
        assert bool(step.terminated) == bool(alone.terminated)
        assert np.array_equal(step.state.weights, weights)
        (state, observation), (own, seen) = (step.state, step.observation), (alone.state, alone.observation)
    assert bool(alone.terminated)


def test_weights_change_from_episode_to_episode_and_are_uniform():
    drawn = jax.vmap(lambda key: show(SEA).initial(key).weights)(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(drawn.sum(1), 1.0, rtol=1e-6)
    # On two objectives each weight is uniform: its quantiles are the numbers themselves.
    np.testing.assert_allclose(np.quantile(drawn[:, 0], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_small_concentrations_draw_near_the_corners():
    sampler = DirichletWeights(3, 0.5)
    drawn = np.asarray(jax.vmap(sampler)(jax.random.split(jax.random.key(0), 4000)))
    # The variance of a part of a Dirichlet vector is m (1 - m) / (sum of concentrations + 1).
    np.testing.assert_allclose(drawn.var(0), (1 / 3) * (2 / 3) / (3 * 0.5 + 1), rtol=0.1)


def test_what_cannot_be_folded_or_drawn_is_named():
    network = PolicyNetwork.for_spaces(SEA.observation_space, SEA.action_space, "mlp")
    with pytest.raises(ValueError, match="observation ends with 'weights'"):
        folded_network(network, 2)
    shown = show(SEA)
    network = PolicyNetwork.for_spaces(shown.observation_space, shown.action_space, "mlp")
    with pytest.raises(ValueError, match="last 3 numbers that the network reads are no weights: 4 numbers"):
        folded_network(network, 3)
    with pytest.raises(ValueError, match=r"concentration must be positive, got 0\.0"):
        DirichletWeights(2, 0.0)
    with pytest.raises(ValueError, match="objectives must be at least 1, got 0"):
        DirichletWeights(0)
