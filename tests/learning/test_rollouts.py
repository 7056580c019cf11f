"""Stepped on the host or inside the compiled program, an environment gives the same experience, learning and scores."""

import gymnasium as gym
import jax
import numpy as np
import pytest

import prefront
from prefront.learning.advantages import generalised_advantages
from prefront.learning.collectors import CompiledCollector
from prefront.learning.exact_evaluation import exact_returns, transition_table
from prefront.learning.host_collector import HostCollector
from prefront.learning.learner_config import LearnerConfig
from prefront.learning.population import Schedule
from prefront.learning.ppo import ActorCritic, Goal
from prefront.learning.rollouts import Trajectory, evaluate
from prefront.learning.trainer import Trainer
from prefront.system.compilation import jit

LEARNERS, NUM_ENVS, STEPS, EPISODES = (
    3,
    2,
    130,
    2,
)  # Longer than an episode of the deep sea: some are truncated.


def trainers(id):
    """Trainers with either collector, where nothing is random, so that equal actions lead to equal episodes."""
    environment = prefront.make(id)
    config = LearnerConfig(
        network="mlp", hidden=(16,), num_envs=NUM_ENVS, steps=STEPS, learning_rate=1e-2, action_bias=2.0
    )
    network = ActorCritic.build(
        config, environment.observation_space, environment.action_space, environment.reward_dim, environment.discount
    )
    shared = (network, LEARNERS, environment.discount, EPISODES)
    collectors = CompiledCollector.of(environment, *shared), HostCollector(f"prefront/{id}", *shared)
    return [Trainer(collector, network, 7) for collector in collectors]


def schedule(objectives, rate=1e-2):
    shape = (LEARNERS, objectives)
    weights = np.random.default_rng(0).dirichlet(np.ones(objectives), LEARNERS).astype(np.float32)
    goal = Goal(weights, np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32))
    return Schedule(goal, np.float32(rate), np.bool_(True), np.int32(2))


@pytest.fixture(scope="module")
def pair():
    return trainers("DeepSeaTreasure-v0")


def test_equal_actions_give_equal_trajectories_and_advantages(pair):
    compiled, host = pair
    network = compiled.network
    inside, outside = compiled.fresh(0), host.fresh(0)
    assert int(inside.iteration) == int(outside.iteration) == 1
    first = jit(lambda population: compiled.collector.collect(population, 0)[1], level=0)(inside)
    second = host.collector.collect(outside, 0)[1]
    assert first.terminated.sum() > 0
    assert np.unique(first.action).size == compiled.collector.environment.action_space.n
    for name, one, other in zip(first._fields, first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6, err_msg=name)
    assert first.truncated.any()

    def advantages(learner, trajectory):
        values = jax.vmap(jax.vmap(lambda encoded: network.critic.apply(learner.critic, encoded)))
        return generalised_advantages(
            trajectory.reward,
            values(trajectory.encoded),
            values(trajectory.next_encoded),
            trajectory.terminated,
            trajectory.truncated,
            network.gamma,
            0.95,
        )

    for one, other in zip(
        jit(jax.vmap(advantages), 0)(inside.learners, first),
        jit(jax.vmap(advantages), 0)(outside.learners, second),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_training_and_evaluation_are_the_same(pair):
    compiled, host = pair
    objectives = compiled.collector.environment.reward_dim
    inside, scored_inside = compiled.advance(compiled.fresh(0), schedule(objectives))
    outside, scored_outside = host.advance(host.fresh(0), schedule(objectives))
    np.testing.assert_allclose(scored_inside.returns, scored_outside.returns, rtol=1e-4, atol=1e-4)
    assert np.array_equal(scored_inside.steps, scored_outside.steps)
    np.testing.assert_allclose(inside.learners.estimate, outside.learners.estimate, rtol=1e-3, atol=1e-3)
    before = jax.tree.leaves(compiled.fresh(0).learners.policy)
    for start, one, other in zip(
        before, jax.tree.leaves(inside.learners.policy), jax.tree.leaves(outside.learners.policy), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)
        assert not np.allclose(start, one, atol=1e-3)


def test_known_returns_are_what_policies_earn():
    environment = prefront.make("ResourceGathering-v0")
    config = LearnerConfig(network="tabular", action_bias=1.0)
    network = ActorCritic.build(config, environment.observation_space, environment.action_space, 3, 0.99)
    policy, table = network.policy, transition_table(environment, network.policy)
    episodes, horizon = 10_000, environment.max_episode_steps

    def both(key):
        parameters = policy.init(key, 1.0)
        return [
            (
                exact_returns(table, policy, parameters, 0.99, horizon, stochastic),
                evaluate(environment, policy, parameters, jax.random.key(9), episodes, 0.99, stochastic).returns,
            )
            for stochastic in (True, False)
        ]

    drawn, greedy = jit(both, level=0)(jax.random.key(4))
    # A return lies within [-1, 1], so its mean is this sharp.
    np.testing.assert_allclose(*drawn, atol=4 / np.sqrt(episodes))
    np.testing.assert_allclose(*greedy, atol=4 / np.sqrt(episodes))
    assert not np.allclose(drawn[0], greedy[0], atol=1e-3)


def test_a_still_policys_estimate_is_the_mean_over_all_its_episodes():
    """Learning halves the weight of what was seen before; a rollout in which no episode starts changes nothing."""
    spaces = gym.spaces.Discrete(1), gym.spaces.Discrete(2)
    network = ActorCritic.build(LearnerConfig(network="tabular"), *spaces, 1, 1.0)
    learner = network.init(jax.random.key(0))._replace(scale=np.array([10.0], np.float32))
    assert np.isnan(learner.estimate).all()

    def measured(learner, returns, started, rate):
        nothing = [None] * len(Trajectory._fields)
        trajectory = Trajectory(*nothing)._replace(elapsed=np.array([[0 if one else 1 for one in started]]))
        return network._measured(learner, trajectory, np.array([returns], np.float32)[..., None], rate)

    learner = measured(learner, [7.0, 7.0], [False, False], 0.0)
    assert np.isnan(learner.estimate).all()
    learner = measured(learner, [1.0, 3.0], [True, True], 0.0)
    learner = measured(learner, [5.0, 9.0], [True, False], 0.0)
    assert (float(learner.estimate[0]), float(learner.episodes)) == (30.0, 3.0)
    learner = measured(learner, [0.0, 0.0], [False, True], 1e-3)
    assert float(learner.estimate[0]) == pytest.approx(10 * 3 * 1.5 / 2.5)
    assert float(learner.episodes) == 2.5


@pytest.mark.parametrize(("id", "exact"), [("ResourceGathering-v0", True), ("DeepSeaTreasure-v0", False)])
def test_training_never_changes_the_form_of_a_population(id, exact):
    """Else the same program would be compiled again for what it has itself returned."""
    environment = prefront.make(id)
    spaces, objectives = (environment.observation_space, environment.action_space), environment.reward_dim
    network = ActorCritic.build(LearnerConfig(network="tabular" if exact else "mlp"), *spaces, objectives, 0.99)
    trainer = Trainer(CompiledCollector.of(environment, network, 2, 0.99, exact=exact), network, 0)
    goal = Goal(*(np.ones((2, objectives), np.float32) for _ in Goal._fields))
    schedule = Schedule(goal, np.float32(0.1), np.bool_(True), np.int32(1))

    def form(population):
        leaves, structure = jax.tree.flatten(population)
        return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]

    begun = trainer.fresh(0)
    advanced, _ = jax.eval_shape(trainer._advanced, begun, schedule)
    learners = {name: getattr(advanced.learners, name) for name in ("policy", "critic", "scale")}
    resumed = jax.eval_shape(trainer.resumed, advanced, learners)
    assert form(begun) == form(advanced) == form(resumed)


def constrained_trainer(return_episodes):
    environment = prefront.make("BreakableBottles-v0")
    config = LearnerConfig(network="tabular", num_envs=4, steps=8, action_bias=1.0, return_episodes=return_episodes)
    spaces = environment.observation_space, environment.action_space
    network = ActorCritic.build(config, *spaces, environment.reward_dim, 0.9)
    return Trainer(CompiledCollector.of(environment, network, 2, 0.9), network, 0)


def test_returns_for_constraints_are_measured_by_whole_episodes_where_they_are_needed():
    """Beside the exact returns of the stochastic policies; steps count, and without constraints none are taken."""
    episodes = 4000
    trainer, plain = constrained_trainer(episodes), constrained_trainer(0)
    policy, environment = trainer.network.policy, trainer.collector.environment
    objectives = environment.reward_dim
    free = Goal(
        np.ones((2, objectives), np.float32),
        np.full((2, objectives), -np.inf, np.float32),
        np.full((2, objectives), np.inf, np.float32),
    )
    still = Schedule(free, np.float32(0.0), np.bool_(False), np.int32(1))
    learning = still._replace(learning_rate=np.float32(1e-3))
    bound = learning._replace(goal=free._replace(thresholds=np.zeros((2, objectives), np.float32)))

    def steps(schedule):
        """Steps beyond those of the evaluation itself, which is the same in both."""
        population, outcome = trainer.advance(trainer.fresh(0), schedule)
        return np.asarray(outcome.steps) - np.asarray(plain.advance(plain.fresh(0), schedule)[1].steps), population

    taken, population = steps(still)
    table = transition_table(environment, policy)
    horizon = environment.max_episode_steps
    wanted = jax.vmap(lambda own: exact_returns(table, policy, own, 0.9, horizon, True))(population.learners.policy)
    np.testing.assert_allclose(population.learners.estimate, wanted, atol=0.03)
    assert (taken >= episodes).all()
    assert (taken <= episodes * horizon).all()
    unmeasured, population = steps(learning)
    assert np.isnan(population.learners.estimate).all()
    assert (unmeasured == 0).all()
    assert (steps(bound)[0] >= episodes).all()


def test_host_environments_refuse_extra_episodes_for_constraints():
    config = LearnerConfig(network="tabular", return_episodes=3)
    network = ActorCritic.build(config, gym.spaces.Discrete(2), gym.spaces.Discrete(2), 2, 0.9)
    with pytest.raises(ValueError, match="return_episodes=3 needs one of our environments, but fruit-tree-v0"):
        HostCollector("fruit-tree-v0", network, 2, 0.9)
