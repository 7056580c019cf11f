"""Learned rewards as environments: they pay the right numbers, and who trains on them does well by the true ones."""

import dataclasses

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.agents.cmorl import train
from prefront.agents.cmorl_settings import CMORLConfig
from prefront.envs.delivery import Delivery
from prefront.envs.random_delivery import RandomDelivery, generate
from prefront.exact import mdp as exact
from prefront.learning.learner_config import LearnerConfig
from prefront.preferences.choice import Linear
from prefront.preferences.learned_environment import (
    LearnedReward,
    LearnedRewardWrapper,
    learned_reward,
    linear_reward,
    network_reward,
    stack_rewards,
    table_reward,
)
from prefront.preferences.models.base import fit_persons
from prefront.preferences.models.fitting import cosine
from prefront.preferences.models.network import NeuralReward
from prefront.preferences.models.partial_return import PartialReturn
from prefront.preferences.models.regret import SuccessorFeatureRegret
from prefront.preferences.segment_scores import segment_margin
from prefront.preferences.segments import sample_segments
from prefront.preferences.successor_sets import random_reward_features
from prefront.preferences.teachers import Teacher
from prefront.tasks.environment import step
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.gymnasium_api import SingleEnvironment, VectorEnvironment
from prefront.tasks.gymnasium_tables import from_gymnasium
from prefront.tasks.host import HostEnvironments
from prefront.tasks.task import Task
from prefront.tasks.wrappers import LinearScalarization

WEIGHTS = np.array([-1.0, 40.0, -60.0, 1.5, -1.0, -2.0])


def number(observation):
    return observation[0] * 10 + observation[1]


def test_both_faces_pay_what_was_learned():
    env = learned_reward(Delivery(), linear_reward(WEIGHTS))
    base = SingleEnvironment(Delivery())
    single = SingleEnvironment(env)
    vector = VectorEnvironment(env, 2)
    assert single.observation_space == base.observation_space
    for face in (base, single):
        face.reset(seed=3)
    vector.reset(seed=3)
    for action in np.random.default_rng(0).integers(4, size=30):
        seen, features, terminated, *_ = base.step(action)
        same, paid, over, *_ = single.step(action)
        together = vector.step(np.array([action, action]))[1]
        assert np.array_equal(seen, same)
        assert terminated == over
        assert paid == pytest.approx([features @ WEIGHTS])
        assert together[0] == pytest.approx(paid)
        if terminated:
            break


def test_tables_and_networks_pay_by_observation_and_action():
    rewards = np.random.default_rng(0).normal(size=(100, 4))
    env = learned_reward(Delivery(), table_reward(rewards, number))
    state = jnp.array([3, 2])
    for action in range(4):
        taken = step(env, state, jnp.asarray(action), jax.random.key(0))
        assert taken.reward == pytest.approx([rewards[32, action]], abs=1e-6)
    rng = np.random.default_rng(0)
    mdp = Delivery().table()
    first, second = (sample_segments(mdp, 20, 3, rng) for _ in range(2))
    dataset = Teacher(segment_margin("partial_return", Linear(WEIGHTS))).ask(first, second, rng)
    places = np.stack(np.divmod(np.arange(100), 10), 1)

    def seen(segments):
        return type(segments)(places[segments.states], *(getattr(segments, name) for name in
                              ("actions", "rewards", "lengths", "ended", "absorbing")))  # fmt: skip

    shown = type(dataset)(seen(dataset.first), seen(dataset.second), dataset.labels, variable_horizon=True)
    model = NeuralReward(4, hidden=(8,), descent=cosine(steps=10)).fit(shown)
    paid = step(learned_reward(Delivery(), network_reward(model)), state, jnp.asarray(1), jax.random.key(0)).reward
    assert paid == pytest.approx([float(model.reward(state, jnp.asarray(1)))], rel=1e-5)
    persons = stack_rewards([network_reward(model), table_reward(rewards, number)])
    both = step(learned_reward(Delivery(), persons, ("ann", "bob")), state, jnp.asarray(1), jax.random.key(0)).reward
    assert both == pytest.approx([float(paid[0]), rewards[32, 1]], rel=1e-5)
    with pytest.raises(ValueError, match="no rewards"):
        stack_rewards([])

    # With state numbers and what is seen there, the same network comes from the table's own segments.
    numbered = NeuralReward(4, hidden=(8,), descent=cosine(steps=10), observations=places).fit(dataset)
    assert np.allclose(numbered.scores(first), model.scores(shown.first))
    table = numbered.reward_table(mdp)
    assert table.shape == (100, 4)
    assert table[32, 1] == pytest.approx(float(paid[0]), rel=1e-5)
    with pytest.raises(ValueError, match=r"\(99, 4\) states and actions, the MDP has \(100, 4\)"):
        dataclasses.replace(numbered, observations=places[:99]).reward_table(mdp)
    with pytest.raises(NotImplementedError):
        model.reward_table(mdp)


def test_networks_score_nothing_inside_terminal_states():
    rng = np.random.default_rng(1)
    mdp = Delivery().table()
    first, second = (sample_segments(mdp, 300, 6, rng, absorbing=True) for _ in range(2))
    dataset = Teacher(segment_margin("partial_return", Linear(WEIGHTS))).ask(first, second, rng)
    places = np.stack(np.divmod(np.arange(100), 10), 1)
    model = NeuralReward(4, hidden=(8,), descent=cosine(steps=5), observations=places).fit(dataset)
    table, live = model.reward_table(mdp), ~mdp.terminal[first.states[:, :-1]]
    assert not live.all()
    by_hand = (table[first.states[:, :-1], first.actions] * live).sum(1)
    assert np.allclose(model.scores(first), by_hand, atol=1e-4)


def test_the_exact_solvers_solve_what_was_learned():
    env = learned_reward(Delivery(), linear_reward(WEIGHTS))
    assert isinstance(env, FiniteEnvironment)
    table = env.table()
    values = exact.solve(table, exact.expected_rewards(table, [1.0]), 0.999).values
    assert exact.mean_return(table, values) == pytest.approx(Delivery().optimal_return(WEIGHTS), abs=1e-4)


def test_a_population_makes_one_objective_a_person():
    people = np.stack([WEIGHTS, -WEIGHTS])
    env = learned_reward(Delivery(), linear_reward(people), names=("ann", "bob"), reference_point=[-100, -100])
    assert env.objective_names == ("ann", "bob")
    taken = step(env, jnp.array([3, 2]), jnp.asarray(0), jax.random.key(0))
    assert taken.reward[0] == -taken.reward[1]
    with pytest.raises(ValueError, match="ann"):
        learned_reward(Delivery(), linear_reward(WEIGHTS), names=("ann", "bob"))
    with pytest.raises(ValueError, match="reference_point"):
        learned_reward(Delivery(), linear_reward(WEIGHTS), reference_point=[0, 0])
    with pytest.raises(ValueError, match="finite"):
        linear_reward([np.inf])


def test_any_gymnasium_environment_can_pay_it():
    env = LearnedRewardWrapper(gym.make("CartPole-v1"), lambda observation, action, vector: observation[0] + 2 * vector)
    observation, _ = env.reset(seed=0)
    _, reward, _, _, info = env.step(1)
    assert reward == pytest.approx(observation[0] + 2)
    assert info["true_reward"] == 1
    wrong = LearnedRewardWrapper(gym.make("CartPole-v1"), lambda *_: np.zeros(2))
    wrong.reset(seed=0)
    with pytest.raises(ValueError, match="one number"):
        wrong.step(0)
    assert not isinstance(env, LearnedReward)


def frozen_lake():
    """A table of other people's environment, and the rewards of two persons: one likes the goal, one shuns it."""
    lake = gym.make("FrozenLake-v1", is_slippery=False)
    mdp, true = from_gymnasium(lake)
    rng = np.random.default_rng(0)
    anywhere = mdp._replace(initial=~mdp.terminal / (~mdp.terminal).sum())
    first, second = (sample_segments(anywhere, 60, 3, rng, absorbing=True) for _ in range(2))
    teacher = Teacher(segment_margin("partial_return", Linear(np.stack([true, -true]))), names=("ann", "bob"))
    fitted = fit_persons(PartialReturn(), teacher.ask(first, second, rng))
    return lake, mdp, {name: fitted[name].reward_table(mdp) for name in ("ann", "bob")}


def test_a_population_has_an_entry_each_in_other_peoples_environments():
    lake, _, tables = frozen_lake()
    paid = stack_rewards([table_reward(table, int) for table in tables.values()])
    env = LearnedRewardWrapper(lake, paid, tuple(tables), [-1, -1])
    assert env.get_wrapper_attr("objective_names") == ("ann", "bob")
    assert env.reward_space.shape == (2,)
    rng, seen = np.random.default_rng(1), set()
    for episode in range(30):
        place, _ = env.reset(seed=episode)
        over = False
        while not over:
            action = int(rng.choice([1, 2]))
            following, reward, over, _, info = env.step(action)
            assert reward.dtype == np.float32
            assert env.reward_space.contains(reward)
            assert reward == pytest.approx([tables["ann"][place, action], tables["bob"][place, action]], rel=1e-6)
            assert info["true_reward"] == (following == 15)
            seen.add(float(reward[0]))
            place = following
    # The goal was reached, and it is what the two disagree on.
    assert len(seen) > 1
    alone = LinearScalarization(env, [0, 1])
    alone.reset(seed=0)
    assert alone.step(2)[1] == pytest.approx(tables["bob"][0, 2], rel=1e-6)


def test_foreign_vectors_become_a_populations_for_agents_on_the_host():
    """A registered id, MO-Gymnasium's sea behind it: two objectives in, three persons out."""
    pytest.importorskip("mo_gymnasium")
    people = np.array([[1.0, 0.0], [0.5, 2.0], [0.0, -1.0]])

    def make(**kwargs):
        sea = gym.make("mo_gymnasium:deep-sea-treasure-v0", **kwargs)
        return LearnedRewardWrapper(sea, linear_reward(people), ("ann", "bob", "eve"), [-10, -10, -10])

    gym.register("tests/LearnedSea-v0", entry_point=make)
    try:
        envs = HostEnvironments("tests/LearnedSea-v0", 2)
        envs.reset(0)
        taken = envs.step(np.array([1, 1]))
        # Down once from the start: treasure 0.7, and a step of time.
        assert taken.reward == pytest.approx(np.tile(people @ [0.7, -1.0], (2, 1)), abs=1e-5)
        envs.close()
        task = Task.of("tests/LearnedSea-v0", discount=0.99)
        assert task.objective_names == ("ann", "bob", "eve")
        assert list(task.reference_point) == [-10, -10, -10]
    finally:
        gym.registry.pop("tests/LearnedSea-v0")


def test_wrong_persons_are_named():
    def cart(function, names=None, point=None):
        return LearnedRewardWrapper(gym.make("CartPole-v1"), function, names, point)

    short = cart(lambda *_: np.zeros(1), ("ann", "bob"))
    short.reset(seed=0)
    with pytest.raises(ValueError, match=r"gives \(1,\), but 2 objectives are named: \('ann', 'bob'\)"):
        short.step(0)
    with pytest.raises(ValueError, match="at least one name"):
        cart(lambda *_: np.zeros(1), ())
    with pytest.raises(ValueError, match=r"reference_point must have shape \(2,\), got \(3,\)"):
        cart(lambda *_: np.zeros(2), ("ann", "bob"), [0, 0, 0])


def small_task():
    """A random map of 14 open cells, its owner and one who hates coins, and what their noiseless regrets teach."""
    params, weights = generate(jax.random.key(2), 64)
    env = RandomDelivery()
    live = (~env.table(params).terminal).sum(1)
    which = next(i for i in range(64) if live[i] == 14 and weights[i][1] >= 5)
    env.default_params = jax.tree.map(lambda leaf: leaf[which], params)
    mdp = env.table()
    people = np.stack([weights[which], weights[which] * [1, 1, 1, -3, 1, 1]])
    rng = np.random.default_rng(0)
    first, second = (sample_segments(mdp, 600, 3, rng, absorbing=True) for _ in range(2))
    teacher = Teacher(segment_margin("deterministic_regret", Linear(people), mdp=mdp), names=("ann", "bob"))
    features = random_reward_features(mdp, np.random.default_rng(1))
    models = fit_persons(SuccessorFeatureRegret(mdp, features), teacher.ask(first, second, rng))
    learned = np.array([models[name].weights for name in ("ann", "bob")])
    # What pads the table lies in no map; any action does there.
    places = np.stack(np.divmod(np.arange(len(mdp.terminal)), int(env.default_params.width)), 1).clip(max=(14, 9))
    return env, mdp, people, learned / np.abs(learned).max(1, keepdims=True), places


@pytest.mark.slow
def test_stable_baselines_trains_on_a_learned_reward():
    sb3 = pytest.importorskip("stable_baselines3")
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    env, mdp, people, learned, _ = small_task()
    width, states = int(env.default_params.width), len(mdp.terminal)
    for seed in range(3):
        single = SingleEnvironment(learned_reward(env, linear_reward(learned[0])))
        played = gym.wrappers.TimeLimit(LinearScalarization(single, [1.0]), 50)
        numbered = gym.wrappers.TransformObservation(
            played, lambda place: int(place[0]) * width + int(place[1]), gym.spaces.Discrete(states)
        )
        agent = sb3.PPO("MlpPolicy", numbered, 3e-3, 512, gamma=0.99, ent_coef=0.01, seed=seed, device="cpu")
        agent.learn(6_000)
        actions = agent.predict(np.arange(states), deterministic=True)[0]
        assert exact.scaled_return(mdp, actions, exact.expected_rewards(mdp, people[0]), 0.999) >= 0.9


def test_our_agent_serves_every_person_of_a_population():
    """One front over the persons' learned rewards: whoever selects by their own weight gets a policy they like."""
    env, mdp, people, learned, places = small_task()
    paid = learned_reward(env, linear_reward(learned), ("ann", "bob"), reference_point=[-50, -50])
    # The default learning rate is one for perceptrons; tables need a faster one.
    learner = LearnerConfig(learning_rate=0.03)
    config = CMORLConfig(learner=learner, total_steps=400_000, population=4, discount=0.99, evaluation="exact")
    for seed in range(2):
        front = train(paid, config, seed).solution
        for person, true in enumerate(people):
            actions = np.asarray(front.select(np.eye(2)[person])(places.astype(np.int32)))
            assert exact.scaled_return(mdp, actions, exact.expected_rewards(mdp, true), 0.999) >= 0.99
    # The same front plays in the environment itself, whose rewards are the true features.
    played = front.evaluate(env, episodes=400, gamma=0.999)
    for person, true in enumerate(people):
        best = int(np.argmax(front.returns[:, person]))
        values = exact.solve(mdp, exact.expected_rewards(mdp, true), 0.999).values
        assert played[best] @ true == pytest.approx(exact.mean_return(mdp, values), rel=0.1)
