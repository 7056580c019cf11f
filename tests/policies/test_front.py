"""Fronts of hand-built policies whose returns are known in closed form, and what happens to their files."""

import dataclasses

import gymnasium as gym
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import prefront
from prefront.envs.deep_sea_treasure import CONVEX_TREASURES
from prefront.learning.networks import PolicyNetwork
from prefront.policies import evaluation
from prefront.policies.front import Front
from prefront.policies.policy import Policy
from prefront.tasks.registry import make_environment
from prefront.tasks.task import Conditions

UP, DOWN, LEFT, RIGHT = range(4)
GAMMA = 0.99
TREASURES = list(CONVEX_TREASURES.items())
NETWORK = PolicyNetwork.for_spaces(gym.spaces.Discrete(3), gym.spaces.Discrete(2))
CONDITIONS = Conditions("nowhere", 0.9, (0, 0, 0), ("a", "b", "c"))


def diver(network, column):
    """Moves along the surface to a column, then straight down."""
    table = np.zeros((network.encoder.features, 4), np.float32)
    for row in range(11):
        for at in range(11):
            action = RIGHT if row == 0 and at < column else DOWN
            table[int(network.encoder(np.array([row, at]))), action] = 1
    return {"weights": {"table": table}}


def straight_returns(gamma):
    steps = np.array([row + column for (row, column), _ in TREASURES])
    values = np.array([value for _, value in TREASURES])
    return np.column_stack([values * gamma ** (steps - 1), -(1 - gamma**steps) / (1 - gamma)])


@pytest.fixture(scope="module")
def divers():
    environment = prefront.make("DeepSeaTreasure-v0")
    network = PolicyNetwork.for_spaces(environment.observation_space, environment.action_space, kind="tabular")
    parameters = jax.tree.map(lambda *leaves: np.stack(leaves), *(diver(network, c) for (_, c), _ in TREASURES))
    conditions = Conditions.of("DeepSeaTreasure-v0")
    return Front.of(network, parameters, straight_returns(GAMMA), conditions, environment_steps=7, seed=3)


def tagged(points):
    """Parameters that tell which return vector they belong to."""
    return {"weights": {"table": np.asarray(points, np.float32)[:, :, None] * np.ones((1, 1, 2), np.float32)}}


def tiny(points):
    return Front.of(NETWORK, tagged(points), points, CONDITIONS)


def test_conditions_come_from_the_environment(divers):
    assert divers.conditions == Conditions("DeepSeaTreasure-v0", 0.99, (0.0, -50.0), ("treasure", "time"))
    concave = Conditions.of("prefront/DeepSeaTreasure-v0", map="concave", reference_point=(0, -25))
    assert concave.kwargs == {"map": "concave"}
    assert concave.reference_point == (0.0, -25.0)
    with pytest.raises(ValueError, match="does not state its discount, reference_point"):
        Conditions.of("CartPole-v1")


def test_hand_built_front_has_the_exact_hypervolume(divers):
    assert len(divers) == 10
    assert divers.hypervolume() == pytest.approx(854.8504, abs=5e-5)
    assert np.allclose(divers.returns, prefront.make("DeepSeaTreasure-v0").pareto_front(GAMMA))
    assert np.isinf(divers.crowding_distance()[[0, -1]]).all()


@pytest.mark.parametrize("gamma", [0.99, 0.9])
def test_evaluation_by_rollouts_equals_the_closed_form(divers, gamma):
    measured = divers.evaluate(episodes=2, gamma=gamma)
    order = np.lexsort(straight_returns(GAMMA).T[::-1])
    assert measured.dtype == np.float64
    assert np.allclose(measured, straight_returns(gamma)[order], rtol=1e-5)


def test_evaluation_on_the_host_equals_the_compiled_one(divers):
    compiled = divers.evaluate(episodes=1)
    assert np.allclose(divers.evaluate("deep-sea-treasure-v0", episodes=1), compiled, rtol=1e-5)
    face = gym.make("prefront/DeepSeaTreasure-v0", disable_env_checker=True)
    assert np.allclose(divers.evaluate(face, episodes=1), compiled, rtol=1e-5)


def test_fronts_of_similar_sizes_share_one_program(divers):
    measured = divers.evaluate(episodes=3)
    programs = evaluation._evaluate_compiled._cache_size()
    fewer = Front(divers.network, {"weights": {"table": divers.parameters["weights"]["table"][1:]}},
                  divers.returns[1:], divers.conditions)  # fmt: skip
    assert np.array_equal(fewer.evaluate(episodes=3), measured[1:])
    assert evaluation._evaluate_compiled._cache_size() == programs


@pytest.mark.parametrize("where", ["DeepSeaTreasure-v0", "deep-sea-treasure-v0"])
def test_stochastic_evaluation_in_closed_form(divers, where):
    # Down with probability p finds the first treasure; otherwise up, which wastes a step.
    p, episodes = 0.5, 4_000 if where.startswith("Deep") else 150
    table = np.full((1, divers.network.encoder.features, 4), -np.inf, np.float32)
    table[..., [UP, DOWN]] = 0
    front = Front.of(divers.network, {"weights": {"table": table}}, [[0.0, 0.0]], divers.conditions)
    measured = front.evaluate(where, episodes=episodes, deterministic=False, seed=1)[0]
    rate = 1 - (1 - p) * GAMMA
    expected = np.array([0.7 * p / rate, -1 / rate])
    steps = np.random.default_rng(0).geometric(p, 100_000)
    samples = np.column_stack([0.7 * GAMMA ** (steps - 1), -(1 - GAMMA**steps) / (1 - GAMMA)])
    assert (np.abs(measured - expected) < 5 * samples.std(0) / np.sqrt(episodes)).all()
    again = front.evaluate(where, episodes=episodes, deterministic=False, seed=1)[0]
    assert np.array_equal(measured, again)
    other = front.evaluate(where, episodes=episodes, deterministic=False, seed=2)[0]
    assert not np.array_equal(measured, other)


def test_policy_drives_plain_gymnasium_code(divers):
    env = gym.make("prefront/DeepSeaTreasure-v0", disable_env_checker=True)
    policy = divers.select([1.0, 0.0])
    observation, _ = env.reset(seed=0)
    rewards = []
    while True:
        action = policy(observation)
        assert isinstance(action, np.integer)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            break
    assert len(rewards) == 19
    assert rewards[-1][0] == np.float32(23.7)
    for copies in (1, 3):
        vector = gym.make_vec("prefront/DeepSeaTreasure-v0", num_envs=copies)
        observations, _ = vector.reset(seed=0)
        actions = policy(observations)
        assert actions.shape == (copies,)
        assert (vector.step(actions)[0] == [0, 1]).all()


def test_policy_draws_with_a_numpy_generator(divers):
    policy = Policy(divers.network, {"weights": {"table": np.zeros((121, 4), np.float32)}})
    batch = np.zeros((4_000, 2), np.int32)
    drawn = policy(batch, np.random.default_rng(0))
    assert np.array_equal(drawn, policy(batch, np.random.default_rng(0)))
    assert np.abs(np.bincount(drawn, minlength=4) / 4_000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4_000)
    assert policy(batch[0], np.random.default_rng(1)) in range(4)
    with pytest.raises(ValueError, match=r"1 axes and 2 numbers.*\(3,\)"):
        policy(np.zeros(3))
    with pytest.raises(ValueError, match=r"got shape \(2, 2, 2\)"):
        policy(np.zeros((2, 2, 2)))


def test_continuous_actions_and_dict_observations():
    spaces = gym.spaces.Dict({"x": gym.spaces.Box(-1, 1, (3,)), "n": gym.spaces.Discrete(4)})
    network = PolicyNetwork.for_spaces(spaces, gym.spaces.Box(-0.5, 2.0, (2, 1)), hidden=(8,))
    parameters = jax.device_get(jax.jit(network.init)(jax.random.key(0)))
    policy = Policy(network, parameters)
    batched = {"x": np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3), "n": np.arange(5) % 4}
    actions = policy(batched)
    assert actions.shape == (5, 2, 1)
    assert actions.dtype == np.float32
    directly = jax.jit(lambda one: network.action(parameters, one))
    for i in range(5):
        one = {"x": batched["x"][i], "n": batched["n"][i]}
        assert np.allclose(policy(one), actions[i], atol=1e-6)
        assert np.allclose(policy(one), directly(one), atol=1e-6)


def test_host_evaluation_of_continuous_control_is_the_discounted_sum():
    env = make_environment("mo-mountaincarcontinuous-v0")
    network = PolicyNetwork.for_spaces(env.observation_space, env.action_space, hidden=(8,))
    conditions = Conditions.of(
        "mo-mountaincarcontinuous-v0", discount=0.9, reference_point=(-1e3, -1e3), objective_names=("time", "fuel")
    )
    stacked = jax.jit(jax.vmap(network.init))(jax.random.split(jax.random.key(0), 2))
    front = Front.of(network, stacked, [[0.0, 1.0], [1.0, 0.0]], conditions)
    measured = front.evaluate(episodes=2, seed=5)
    for policy, found in zip(front, measured, strict=True):
        totals = []
        for seed in (5, 6):
            observation, _ = env.reset(seed=seed)
            rewards, ended = [], False
            while not ended:
                observation, reward, terminated, truncated, _ = env.step(policy(observation))
                rewards.append(reward)
                ended = terminated or truncated
            totals.append(0.9 ** np.arange(len(rewards)) @ np.array(rewards, np.float64))
        assert np.allclose(found, np.mean(totals, axis=0), rtol=1e-9)


points_3d = npst.arrays(np.float64, st.tuples(st.integers(1, 7), st.just(3)), elements=st.integers(0, 4).map(float))


@settings(max_examples=40)
@given(points=points_3d, data=st.data())
def test_insertion_order_does_not_change_the_front(points, data):
    whole = tiny(points)
    order = data.draw(st.permutations(range(len(points))))
    cut = data.draw(st.integers(0, len(points)))
    empty = Front.empty(NETWORK, CONDITIONS)
    first, second = points[order[:cut]], points[order[cut:]]
    stepwise = empty.insert(tagged(first), first).insert(tagged(second), second)
    merged = tiny(points[::-1]).merge(tiny(first)) if cut else tiny(points[::-1])
    for front in (whole, stepwise, merged, tiny(points[order])):
        assert np.array_equal(front.returns, whole.returns)
        # Every policy keeps its own return vector.
        assert np.array_equal(front.parameters["weights"]["table"][:, :, 0], front.returns)
    # Exactly the non-dominated return vectors are there, once.
    expected = {tuple(p) for p in points if not any((q >= p).all() and (q > p).any() for q in points)}
    assert [tuple(row) for row in whole.returns] == sorted(expected)


@settings(max_examples=40)
@given(points=points_3d, weights=st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any))
def test_select_takes_the_largest_weighted_return(points, weights):
    weights = np.array(weights) / sum(weights)
    chosen = tiny(points).select(weights)
    assert weights @ chosen.returns == pytest.approx(max(weights @ point for point in points))


def test_merging_adds_steps_and_keeps_a_common_seed(divers):
    half = dataclasses.replace(divers, evaluation_steps=5)
    merged = half.merge(dataclasses.replace(half, seed=4))
    assert (merged.environment_steps, merged.evaluation_steps, merged.seed) == (14, 10, None)
    assert half.merge(half).seed == 3
    assert np.array_equal(merged.returns, divers.returns)


def test_indexing(divers):
    assert np.array_equal(divers[-1].returns, divers.returns[-1])
    assert len(list(divers)) == 10
    with pytest.raises(IndexError):
        divers[10]
    with pytest.raises(TypeError):
        divers[1:2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f.select([1, 0, 0]), ValueError, r"length 2"),
        (lambda f: f.select([1.5, -0.5]), ValueError, "not be negative"),
        (lambda f: f.select([0.5, 0.6]), ValueError, "sum to 1"),
        (lambda f: f.select([[0.5, 0.5]]), ValueError, "One weight vector"),
        (lambda f: Front.empty(f.network, f.conditions).select([0.5, 0.5]), ValueError, "empty front"),
        (lambda f: f.insert(f.parameters, np.ones((10, 3))), ValueError, "length 3, but the front has 2"),
        (lambda f: f.insert(f.parameters, np.ones((4, 2))), ValueError, "14 return vectors.*shape"),
        (lambda f: f.insert(f.parameters, np.full((10, 2), np.nan)), ValueError, "finite"),
        (lambda f: dataclasses.replace(f, returns=f.returns[::-1]), ValueError, "use Front.of"),
        (lambda f: dataclasses.replace(f, returns=f.returns[:4]), ValueError, "count the 4 policies"),
        (lambda f: f.evaluate(episodes=0), ValueError, "episodes must be at least 1, got 0"),
        (lambda f: f.evaluate(gamma=1.5), ValueError, "got 1.5"),
        (lambda f: f.evaluate("DeepSeaTresure-v0"), KeyError, "DeepSeaTreasure-v0"),
        (lambda f: f.evaluate(gym.make("FrozenLake-v1")), ValueError, r"observations in Discrete\(16\)"),
        (lambda f: f.evaluate(3.0), TypeError, "gym.Env, got <class 'float'>"),
        (lambda f: Conditions("x", 0.9, (0, 0, 0), ("a", "b")), ValueError, "2 objectives .* length 3"),
        (lambda f: Conditions("x", 0.9, (0,), ("a",), kwargs={"f": print}), ValueError, "JSON"),
        (
            lambda f: f.merge(dataclasses.replace(f, conditions=Conditions.of("DeepSeaTreasure-v0", discount=0.9))),
            ValueError,
            "different conditions .*discount: 0.99 and 0.9",
        ),
    ],
)
def test_bad_input_is_named(divers, call, error, message):
    with pytest.raises(error, match=message):
        call(divers)


def test_scalar_rewards_are_refused():
    env = gym.make("FrozenLake-v1")
    network = PolicyNetwork.for_spaces(env.observation_space, env.action_space)
    stacked = {"weights": {"table": np.zeros((1, 16, 4), np.float32)}}
    front = Front.of(network, stacked, [[0.0]], Conditions("FrozenLake-v1", 1.0, (0,), ("goal",)))
    with pytest.raises(TypeError, match=r"of shape \(\), but a vector reward is needed"):
        front.evaluate(env, episodes=1)


def test_a_front_answers_several_weights_by_the_policies_that_it_selects(divers):
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    chosen = np.array([divers.select(one).returns for one in weights])
    np.testing.assert_allclose(divers.evaluate(episodes=1, weights=weights), chosen, rtol=1e-6)
    assert np.array_equal(divers.front(weights).returns, np.unique(chosen, axis=0))
    assert divers.front() is divers
    with pytest.raises(ValueError, match="must sum to 1"):
        divers.front([[1.0, 1.0]])
