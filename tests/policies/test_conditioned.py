"""A conditioned policy answers weights by ordinary policies, and its file is whole or refused."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import prefront
from prefront.learning.conditioning import show
from prefront.learning.networks import PolicyNetwork
from prefront.pareto.weights import dirichlet_weights
from prefront.policies.conditioned import ConditionedPolicy
from prefront.policies.front import Front
from prefront.policies.policy import Policy
from prefront.policies.solution import Solution
from prefront.system.files import DamagedFileError, load_arrays, save_arrays
from prefront.tasks.task import Conditions

SEA = prefront.make("DeepSeaTreasure-v0")
CONDITIONS = Conditions.of("DeepSeaTreasure-v0")
FILE = "conditioned_policy.safetensors"


def conditioned(kind="mlp", seed=0, hidden=(8,)):
    shown = show(SEA)
    network = PolicyNetwork.for_spaces(shown.observation_space, shown.action_space, kind, hidden)
    parameters = jax.tree.map(lambda leaf: 3 * leaf, network.init(jax.random.key(seed)))
    return ConditionedPolicy(network, parameters, CONDITIONS, environment_steps=5, evaluation_steps=7, seed=seed)


@pytest.fixture(scope="module")
def policy():
    return conditioned()


@pytest.mark.parametrize("kind", ["mlp", "one-hot"])
def test_the_selected_policy_acts_as_the_network_that_is_shown_the_weights(kind):
    one = conditioned(kind)
    shown = Policy(one.network, one.parameters)
    places = np.array(list(itertools.product(range(11), range(11))), np.int32)
    chosen = []
    for weights in dirichlet_weights(2, 5, 0):
        both = {"observation": places, "weights": np.tile(weights.astype(np.float32), (len(places), 1))}
        chosen.append(one.select(weights)(places))
        assert np.array_equal(chosen[-1], shown(both))
    assert len({tuple(actions) for actions in chosen}) > 1


def test_each_row_of_an_evaluation_is_what_the_selected_policy_earns(policy):
    weights = dirichlet_weights(2, 4, 1)
    measured = policy.evaluate(episodes=1, weights=weights)
    assert measured.shape == (4, 2)
    for row, one in zip(measured, weights, strict=True):
        chosen = policy.select(one)
        alone = Front.of(chosen.network, jax.tree.map(lambda leaf: leaf[None], chosen.parameters), [row], CONDITIONS)
        np.testing.assert_allclose(alone.evaluate(SEA, episodes=1)[0], row, rtol=1e-6)
    assert policy.evaluate(episodes=1).shape == (101, 2)


def test_its_front_holds_the_policies_for_the_weights(policy):
    front = policy.front(episodes=1)
    assert (front.environment_steps, front.evaluation_steps, front.seed) == (5, 7, 0)
    np.testing.assert_allclose(front.evaluate(episodes=1), front.returns, rtol=1e-6)
    measured = policy.evaluate(episodes=1)
    assert np.array_equal(front.returns, Front.of(*policy.folded(lattice()), measured, CONDITIONS).returns)


def lattice():
    return np.column_stack([np.arange(101), 100 - np.arange(101)]) / 100


def test_fronts_and_conditioned_policies_are_solutions_that_load_by_folder(policy, tmp_path):
    front = policy.front(episodes=1)
    for number, solution in enumerate([policy, front]):
        assert isinstance(solution, Solution)
        solution.save(tmp_path / str(number))
        assert type(prefront.load(tmp_path / str(number))) is type(solution)
    with pytest.raises(DamagedFileError, match="it holds"):
        prefront.load(tmp_path)
    policy.save(tmp_path / "1")
    with pytest.raises(DamagedFileError, match="must hold one of"):
        prefront.load(tmp_path / "1")


def test_save_and_load_are_bit_identical(policy, tmp_path):
    policy.save(tmp_path / "a")
    loaded = ConditionedPolicy.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    for a, b in zip(jax.tree.leaves(policy.parameters), jax.tree.leaves(loaded.parameters), strict=True):
        assert a.tobytes() == b.tobytes()
    for field in ("network", "conditions", "environment_steps", "evaluation_steps", "seed"):
        assert getattr(policy, field) == getattr(loaded, field)


def test_every_altered_byte_and_every_cut_is_refused(tmp_path):
    conditioned(hidden=(2,)).save(tmp_path)
    path = tmp_path / FILE
    content = path.read_bytes()
    damaged = [content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :] for place in range(len(content))]
    for one in [*damaged, *(content[:length] for length in range(0, len(content), 7))]:
        path.write_bytes(one)
        with pytest.raises(DamagedFileError, match=FILE):
            ConditionedPolicy.load(tmp_path)
    path.unlink()
    with pytest.raises(DamagedFileError, match="holds no conditioned policy"):
        ConditionedPolicy.load(tmp_path)


def test_whole_files_that_hold_no_conditioned_policy_are_refused(policy, tmp_path):
    policy.save(tmp_path)
    arrays, facts = load_arrays(tmp_path / FILE)
    bare = dataclasses.asdict(PolicyNetwork.for_spaces(SEA.observation_space, SEA.action_space, "mlp", (8,)))
    three = {"objective_names": ["a", "b", "c"], "reference_point": [0, 0, 0]}
    wrong = [
        {"format": "prefront front 2"},
        {"policies": 1},
        {"network": bare},
        {"conditions": {**facts["conditions"], "discount": 2.0}},
        {"conditions": {**facts["conditions"], **three}},
        {"arrays": {"parameters": {"weights": np.zeros(3)}}},
        {"arrays": {"parameters": jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), arrays["parameters"])}},
    ]
    for changes in wrong:
        save_arrays(tmp_path / FILE, changes.pop("arrays", arrays), {**facts, **changes})
        with pytest.raises(DamagedFileError, match=FILE):
            ConditionedPolicy.load(tmp_path)
    save_arrays(tmp_path / FILE, arrays, facts)
    ConditionedPolicy.load(tmp_path)


@pytest.mark.parametrize(
    "weights, message",
    [
        ([0.5, 0.6], "must sum to 1"),
        ([1.5, -0.5], "must not be negative"),
        ([1.0], "must have length 2"),
        ([np.nan, 1.0], "must be finite"),
    ],
)
def test_weights_off_the_simplex_are_refused(policy, weights, message):
    for ask in (policy.select, policy.front, lambda one: policy.evaluate(weights=one)):
        with pytest.raises(ValueError, match=message):
            ask(weights)
    with pytest.raises(ValueError, match=r"One weight vector.*shape \(1, 2\)"):
        policy.select([[0.5, 0.5]])
