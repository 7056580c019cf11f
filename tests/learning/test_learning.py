"""Losses, running statistics, barriers and the trust region against closed forms."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.learning.constrained import RECOVERY_WEIGHT, barrier_weights, controlled_multipliers
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.networks import PolicyNetwork
from prefront.learning.normalisation import RunningStatistics
from prefront.learning.policy_gradient import clipped_surrogate, standardise, value_loss
from prefront.learning.ppo import ActorCritic, Goal
from prefront.learning.rollouts import Trajectory
from prefront.learning.trust_region import conjugate_gradient, step_weights, trust_region_step
from prefront.pareto.archive import Archive


def bandit(actions):
    return PolicyNetwork.for_spaces(gym.spaces.Discrete(1), gym.spaces.Discrete(actions), "tabular")


def test_surrogate_gradient_of_a_bandit_is_the_policy_gradient():
    """With every action weighted by its probability, the gradient is pi(a) (r(a) - J), from both estimators."""
    policy, rewards = bandit(3), jnp.array([1.0, 2.0, 4.0])
    table = jnp.array([[0.3, -0.2, 0.1]])
    probabilities = jax.nn.softmax(table[0])

    def objective(table):
        log = jax.vmap(policy.distribution_of({"weights": {"table": table}}, 0).log_probability)(jnp.arange(3))
        old = jax.nn.log_softmax(jnp.array([0.3, -0.2, 0.1]))
        # Weighting the advantage by 3 pi turns the mean over the three actions into the policy's expectation.
        return -clipped_surrogate(log, old, rewards * 3 * probabilities, 0.2)

    wanted = probabilities * (rewards - probabilities @ rewards)
    np.testing.assert_allclose(jax.grad(objective)(table)[0], wanted, rtol=1e-5)


def test_clipped_ratios_have_no_gradient():
    gradient = jax.grad(lambda log, a: clipped_surrogate(log[None], jnp.zeros(1), a[None], 0.2))
    assert gradient(jnp.log(1.3), jnp.float32(1.0)) == 0.0
    assert gradient(jnp.log(0.7), jnp.float32(-1.0)) == 0.0
    assert gradient(jnp.log(1.3), jnp.float32(-1.0)) == pytest.approx(1.3, rel=1e-5)


def test_value_loss_and_standardisation():
    assert value_loss(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])) == 2.5
    scaled = standardise(jnp.array([1.0, 2.0, 6.0]))
    assert abs(scaled.mean()) < 1e-6
    assert scaled.std() == pytest.approx(1.0)


def test_statistics_of_parts_are_those_of_the_whole():
    data = np.random.default_rng(0).normal(3.0, 2.0, (60, 2)).astype(np.float32)
    statistics = RunningStatistics.empty((2,))
    for part in np.split(data, [7, 20]):
        statistics = statistics.updated(jnp.asarray(part))
    np.testing.assert_allclose(statistics.mean, data.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.variance, data.var(0), rtol=1e-5)


def test_barrier_weights_are_the_gradient_of_the_logarithm():
    values, thresholds = jnp.array([0.5, 0.3, -0.2]), jnp.array([-jnp.inf, 0.1, -0.4])
    maximised = jnp.array([1.0, 0.0, 0.0])

    def barrier(values):
        return values[0] + (jnp.log(values[1] - 0.1) + jnp.log(values[2] + 0.4)) / 20.0

    np.testing.assert_allclose(
        barrier_weights(maximised, values, thresholds, 20.0), jax.grad(barrier)(values), rtol=1e-5
    )


def test_a_violated_constraint_keeps_pulling():
    weights = barrier_weights(jnp.array([1.0, 0.0]), jnp.array([0.0, -5.0]), jnp.array([-jnp.inf, 0.0]), 20.0)
    np.testing.assert_allclose(weights, [1.0, RECOVERY_WEIGHT])


def test_multipliers_are_the_proportional_and_the_integral_part_and_stay_bounded():
    """Violations .02, .2 (the integral heeds .05 of it), -.02 and 100; without a constraint the multiplier is 0."""
    values, thresholds = jnp.array([0.0, 0.48, 0.3, 1.02, 0.0]), jnp.array([-jnp.inf, 0.5, 0.5, 1.0, 100.0])
    integral, multipliers = controlled_multipliers(jnp.ones(5), values, thresholds, 20.0, 2.0)
    np.testing.assert_allclose(integral, [1.0, 1.04, 1.1, 0.96, 1.1], rtol=1e-5)
    np.testing.assert_allclose(multipliers, [0.0, 1.44, 5.1, 0.56, 10.0], rtol=1e-5)


def test_conjugate_gradients_solve_a_system():
    matrix = np.random.default_rng(0).normal(size=(6, 6))
    matrix = jnp.asarray(matrix @ matrix.T + np.eye(6), jnp.float32)
    target = jnp.arange(6.0)
    np.testing.assert_allclose(matrix @ conjugate_gradient(lambda x: matrix @ x, target), target, atol=1e-3)


def test_the_free_step_fills_the_trust_region():
    products, weights = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([1.0, 0.0])
    u = step_weights(products, weights, jnp.full(2, jnp.inf), 0.01)
    assert u[1] == 0.0
    assert u @ products @ u / 2 == pytest.approx(0.01, rel=1e-4)


def test_a_binding_constraint_binds_and_the_step_is_the_best():
    products = jnp.array([[2.0, -1.0], [-1.0, 1.0]])
    u = step_weights(products, jnp.array([1.0, 0.0]), jnp.array([jnp.inf, 0.02]), 0.01)
    assert u @ products @ u / 2 <= 0.01 * 1.001
    assert (products @ u)[1] == pytest.approx(-0.02, abs=1e-4)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    circle = (
        np.sqrt(0.02) * np.linalg.inv(np.linalg.cholesky(np.asarray(products))).T @ [np.cos(angles), np.sin(angles)]
    )
    changes = np.asarray(products) @ circle
    assert (products @ u)[0] == pytest.approx(changes[0, changes[1] >= -0.02].max(), rel=1e-3)


def test_trust_region_steps_find_the_constrained_optimum_of_a_bandit():
    """Arms (1, 0), (0, 1) and (.4, .4): the most of the first objective with at least .3 of the second is .7."""
    rewards = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]])
    returns = lambda logits: jax.nn.softmax(logits) @ rewards  # noqa: E731

    def step(_, logits):
        old, before = jax.nn.log_softmax(logits), returns(logits)
        divergence = lambda new: jnp.sum(jnp.exp(old) * (old - jax.nn.log_softmax(new)))  # noqa: E731
        slack = jnp.array([jnp.inf, before[1] - 0.3])
        return trust_region_step(
            lambda new: returns(new) - before, divergence, logits, jnp.array([1.0, 0.0]), slack, 0.01
        )

    found = returns(jax.jit(lambda start: jax.lax.fori_loop(0, 200, step, start))(jnp.zeros(3)))
    np.testing.assert_allclose(found, [0.7, 0.3], atol=0.01)


def test_the_entropy_bonus_decays_with_the_training_that_is_done():
    """A step at half of the training equals one with half of the bonus; at its end one without; undecayed, the first.

    Nothing is rewarded, so that the bonus alone moves the policy.
    """

    def stepped(entropy, decay, progress):
        config = LearnerConfig(network="tabular", entropy=entropy, entropy_decay=decay, learning_rate=0.1, epochs=1)
        network = ActorCritic.build(config, gym.spaces.Discrete(1), gym.spaces.Discrete(3), 1, 1.0)
        learner = network.init(jax.random.key(0))
        table = jnp.array([[2.0, 0.0, -1.0]])
        # Adam's very first step would have the same size for any bonus.
        learner = learner._replace(
            policy={"weights": {"table": table}},
            optimiser=jax.tree.map(lambda leaf: jnp.ones_like(leaf), learner.optimiser),
        )
        row, ends = jnp.zeros((4, 2), jnp.int32), jnp.ones((4, 2), bool)
        rewards = jnp.zeros((4, 2, 1))
        episodes = Trajectory(row, row, rewards, ends, ~ends, row, row, rewards)
        goal = Goal(jnp.ones(1), jnp.array([-jnp.inf]), jnp.array([jnp.inf]))
        rate = jnp.float32(0.1)
        learned = network.learn(learner, episodes, goal, jax.random.key(1), rate, progress=jnp.float32(progress))
        return np.asarray(learned.policy["weights"]["table"])

    full, half, none = stepped(0.4, 0.0, 0.5), stepped(0.2, 0.0, 0.0), stepped(0.0, 0.0, 0.0)
    assert not np.allclose(full, half, atol=1e-4)
    assert not np.allclose(half, none, atol=1e-4)
    np.testing.assert_allclose(stepped(0.4, 1.0, 0.5), half, rtol=1e-6)
    np.testing.assert_allclose(stepped(0.4, 1.0, 1.0), none, rtol=1e-6)
    np.testing.assert_allclose(stepped(0.4, 1.0, 0.0), full, rtol=1e-6)
    np.testing.assert_allclose(stepped(0.4, 0.5, 1.0), half, rtol=1e-6)


def test_clipping_hides_how_much_a_rare_reward_is_worth():
    """Where a reward is 20 or 40 of its deviations, clipped returns are equal and unclipped ones are the truth."""

    def estimate(reward, clip):
        config = LearnerConfig(network="tabular", reward_clip=clip)
        spaces = gym.spaces.Discrete(1), gym.spaces.Discrete(2)
        network = ActorCritic.build(config, *spaces, 1, 1.0)
        learner = network.init(jax.random.key(0))._replace(scale=jnp.array([0.05]))
        row, ends = jnp.zeros((4, 2), jnp.int32), jnp.ones((4, 2), bool)
        rewards = jnp.full((4, 2, 1), reward)
        episodes = Trajectory(row, row, rewards, ends, ~ends, row, row, rewards)
        goal = Goal(jnp.ones(1), jnp.array([-jnp.inf]), jnp.array([jnp.inf]))
        return network.learn(learner, episodes, goal, jax.random.key(1), jnp.float32(0.0)).estimate

    np.testing.assert_allclose([estimate(1.0, 10.0), estimate(2.0, 10.0)], [[0.5], [0.5]], rtol=1e-5)
    np.testing.assert_allclose([estimate(1.0, None), estimate(2.0, None)], [[1.0], [2.0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"hidden": (64, 0)}, r"hidden must be at least 1, got \(64, 0\)"),
        ({"num_envs": 3, "steps": 5, "minibatches": 4}, "15, must be a multiple of minibatches=4"),
        ({"gamma": 1.5}, r"gamma must lie in \(0, 1\], got 1.5"),
        ({"lambda_": -0.1}, r"lambda_ must lie in \[0, 1\], got -0.1"),
        ({"entropy": float("nan")}, "entropy must be a finite number .*, got nan"),
    ],
)
def test_senseless_settings_are_refused_by_name_and_value(settings, named):
    with pytest.raises(ValueError, match=named):
        LearnerConfig(**settings)


@pytest.mark.parametrize("unit", [(1e-9, 1e-9), (1e9, 1e9), (1e-6, 1e6)])
def test_what_an_archive_keeps_does_not_depend_on_units(unit):
    returns = np.array([[1.0, 3.0], [2.0, 2.0], [2.0 + 1e-9, 2.0], [1.5, 1.5], [3.0, 1.0 + 1e-4], [3.0, 1.0]])
    archive = Archive(2)
    assert archive.insert(returns * unit, lambda i: {"number": i}).tolist() == [0, 1, 4]
