"""Constraints on returns where the constrained optimum is known in closed form: a task of two states."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.learning.advantages import visit_weights
from prefront.learning.collectors import CompiledCollector
from prefront.learning.constrained import MARGIN
from prefront.learning.exact_evaluation import exact_returns, transition_table
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.population import Schedule
from prefront.learning.ppo import ActorCritic, Goal
from prefront.learning.rollouts import Trajectory
from prefront.learning.trainer import Trainer
from prefront.tasks.finite import FiniteEnvironment

LEAVES = 0.1
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
SEEDS = 3
RATE = 0.03


class TwoStates(FiniteEnvironment):
    """Action A earns (1, 0) and B (0, 1), in either state; an episode leaves state 0 for good with chance .1 per step.

    Whatever is done, the two returns sum to (1 - gamma^T) / (1 - gamma), so that J_A is at most that less c where J_B
    is to be at least c. Most steps are spent in state 1, most of the discounted ones in state 0.
    """

    objective_names = ("A", "B")

    def __init__(self, discount, steps):
        super().__init__()
        self.discount, self.max_episode_steps = discount, steps
        self.observation_space, self.action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)
        self.reward_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.reference_point = np.zeros(2)

    def get_default_params(self, **kwargs):
        return ()

    def initial_outcomes(self, params=None):
        return jnp.ones(1), jnp.zeros(1, jnp.int32)

    def outcomes(self, state, action, params=None):
        return jnp.where(state == 0, jnp.array([1 - LEAVES, LEAVES]), jnp.array([0.0, 1.0])), jnp.arange(2)

    def observation(self, state, rng, params=None):
        return state

    def reward(self, state, action, next_state, rng, params=None):
        return jax.nn.one_hot(action, 2)

    def terminal(self, state, rng, params=None):
        return jnp.bool_(False)


def finished(constraint, discount, steps):
    """Returns J_A and J_B of learners at the end of an extension and their thresholds, in shares of J_A + J_B."""
    environment = TwoStates(discount, steps)
    config = LearnerConfig(network="tabular", num_envs=8, steps=64, learning_rate=RATE)
    network = ActorCritic.build(
        config,
        environment.observation_space,
        environment.action_space,
        2,
        discount,
        constraint=constraint,
        sharpening=5.0,
    )
    table, thresholds = transition_table(environment, network.policy), np.repeat(SHARES, SEEDS)
    number, total = len(thresholds), (1 - discount**steps) / (1 - discount)
    trainer = Trainer(CompiledCollector.of(environment, network, number, discount, exact=True), network, 100)

    def schedule(limit, rate, updates, course=0.0):
        weights = np.tile(np.float32([1.0, 0.0]), (number, 1))
        limits = np.stack([np.full(number, -np.inf), limit], 1).astype(np.float32)
        goal = Goal(weights, limits, np.full((number, 2), total, np.float32))
        adapt = np.bool_(np.isinf(limit[0]))
        return Schedule(goal, np.float32(rate), adapt, np.int32(updates), course=np.float32(course))

    population = trainer.fresh(0)
    population, _ = trainer.advance(population, schedule(np.full(number, -np.inf), 1e-6, 10))
    population, _ = trainer.advance(population, schedule(thresholds * total, 0.0, 4))
    for course in np.linspace(0.0, 1.0, 6):
        rate = RATE * (1 - 0.9 * course)
        population, _ = trainer.advance(population, schedule(thresholds * total, rate, 8, course))

    def returns(policy):
        return exact_returns(table, network.policy, policy, discount, steps, stochastic=True)

    return np.asarray(jax.vmap(returns)(population.learners.policy)) / total, thresholds


@pytest.mark.parametrize("constraint", ["ipo", "cpo", "lagrangian"])
@pytest.mark.parametrize(
    ("discount", "steps"),
    [
        (0.9, 64),
        pytest.param(0.9, 20, marks=pytest.mark.slow),
        pytest.param(0.99, 20, marks=pytest.mark.slow),
        pytest.param(0.99, 64, marks=pytest.mark.slow),
    ],
)
def test_every_finished_learner_keeps_its_constraint_and_ends_at_the_optimum(constraint, discount, steps):
    returns, thresholds = finished(constraint, discount, steps)
    assert (thresholds - returns[:, 1] <= 0.02).all()
    assert (1 - thresholds - returns[:, 0] <= 0.05).all()


def expected_rollout(transitions, rewards, policy, discount, steps):
    """Returns every step (t, s, a, s') of an episode with its probability and exact vector advantage."""
    chances, reached = [], np.eye(len(policy))[0]
    values = np.linalg.solve(
        np.eye(len(policy)) - discount * np.einsum("sa,sat->st", policy, transitions),
        np.einsum("sa,sao->so", policy, rewards),
    )
    advantages = rewards + discount * transitions @ values - values[:, None]
    for _ in range(steps):
        chances.append(reached[:, None] * policy)
        reached = np.einsum("s,sa,sat->t", reached, policy, transitions)
    return np.array(chances), advantages, values[0]


@pytest.mark.parametrize(("discount", "steps"), [(0.9, 64), (0.9, 200), (0.5, 20)])
def test_the_surrogates_slope_is_that_of_the_return(discount, steps):
    """In a random decision process, against finite differences of the exact return.

    The policy gradient is a sum over the steps of an episode, each discounted by the steps before it. The slopes are
    far from those of a mean over states as they are visited, times a discounted number of steps.
    """
    rng = np.random.default_rng(100)
    transitions, rewards = rng.dirichlet(np.full(4, 0.3), (4, 3)), rng.random((4, 3, 2))
    logits = rng.normal(size=(4, 3))
    softmax = lambda logits: np.exp(logits) / np.exp(logits).sum(1, keepdims=True)  # noqa: E731
    chances, advantages, _ = expected_rollout(transitions, rewards, softmax(logits), discount, steps)
    # What the learner sees when each pair of state and action occurs as often as it is likely: weights by visits.
    elapsed = np.repeat(np.arange(steps), 12)
    share = np.asarray(visit_weights(jnp.asarray(elapsed), discount)).reshape(steps, 4, 3) * 12
    horizon = (1 - discount**steps) / (1 - discount)

    def slopes(share):
        # The slope of the ratio pi / pi_old by the logit of action b is 1[a = b] - pi(b).
        mass = (share * chances).sum(0)[..., None] * advantages * horizon
        return mass - softmax(logits)[..., None] * mass.sum(1, keepdims=True)

    exact = np.zeros((4, 3, 2))
    for at in np.ndindex(4, 3):
        step = np.zeros((4, 3))
        step[at] = 1e-5
        at_ends = (softmax(logits + sign * step) for sign in (1, -1))
        ends = [expected_rollout(transitions, rewards, policy, discount, 1)[2] for policy in at_ends]
        exact[at] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(slopes(share), exact, atol=2e-3)
    assert np.abs(slopes(np.full_like(share, 1 / steps)) - exact).max() > 0.05


def test_the_trust_regions_step_gives_away_what_it_may_and_no_more():
    """Where only state 0 is undecided: a sixth of the steps as visited, but more than half of the discounted ones."""
    discount, steps, num_envs = 0.9, 64, 1000
    environment = TwoStates(discount, steps)
    config = LearnerConfig(network="tabular", num_envs=num_envs, steps=steps, scale_rewards=False, lambda_=0.0)
    spaces = environment.observation_space, environment.action_space
    network = ActorCritic.build(config, *spaces, 2, discount, constraint="cpo", trust_region=0.1)
    table, learner = transition_table(environment, network.policy), network.init(jax.random.key(0))
    early = 0.5 / (1 - discount * (1 - LEAVES))  # what state 0 is worth in B; state 1 is worth 0
    values = jnp.array([[1 / (1 - discount) - early, early], [1 / (1 - discount), 0.0]])
    learner = learner._replace(
        policy={**learner.policy, "weights": {"table": jnp.array([[0.0, 0.0], [20.0, 0.0]])}},
        critic={**learner.critic, "weights": {"table": values}},
    )
    rng, total = np.random.default_rng(100), (1 - discount**steps) / (1 - discount)
    gone = np.cumsum(rng.random((steps, num_envs)) < LEAVES, axis=0) > 0
    states = jnp.asarray(np.concatenate([np.zeros((1, num_envs)), gone]).astype(np.int32))
    actions = jnp.where(states[:-1] == 0, jnp.asarray(rng.integers(2, size=(steps, num_envs))), 0)
    never, elapsed = jnp.zeros((steps, num_envs), bool), jnp.tile(jnp.arange(steps)[:, None], num_envs)
    reward = jax.nn.one_hot(actions, 2)
    trajectory = Trajectory(states[:-1], actions, reward, never, elapsed == steps - 1, states[1:], elapsed, reward)

    def returns(policy):
        return exact_returns(table, network.policy, policy, discount, steps, stochastic=True)

    measured = returns(learner.policy)
    assert measured[1] == pytest.approx(early, rel=1e-3)
    goal = Goal(jnp.array([1.0, 0.0]), jnp.array([-jnp.inf, measured[1] - 0.05 * total]), jnp.full(2, total))
    learned = jax.jit(network.learn)(learner, trajectory, goal, jax.random.key(1), jnp.float32(1e-9), measured)
    given = (measured - returns(learned.policy))[1] / total
    # The line search shortens a step by factors of .7 until its surrogate fits.
    assert 0.7 * (0.05 - MARGIN) - 0.003 <= given <= 0.05 - MARGIN + 0.003
