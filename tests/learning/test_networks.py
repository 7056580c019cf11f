"""Initial weights of the networks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

from prefront.learning.encoders import Encoder
from prefront.learning.networks import PolicyNetwork, ValueNetwork


@pytest.mark.parametrize(("inputs", "hidden"), [(2, (64, 64)), (64, (64, 64)), (100, (4, 40)), (3, ())])
def test_layers_start_orthogonal_with_the_gain_of_their_kind(inputs, hidden):
    network = ValueNetwork(Encoder.for_space(Box(-1, 1, (inputs,)), "mlp"), 3, hidden)
    weights = network.init(jax.random.key(0))["weights"]
    for i, (shape, gain) in enumerate(
        zip(itertools.pairwise((inputs, *hidden, 3)), (*len(hidden) * [np.sqrt(2)], 1.0), strict=True)
    ):
        kernel = np.asarray(weights[f"layer_{i}"]["kernel"], float)
        assert kernel.shape == shape
        product = kernel @ kernel.T if kernel.shape[0] <= kernel.shape[1] else kernel.T @ kernel
        assert product == pytest.approx(gain**2 * np.eye(len(product)), abs=1e-5)


def test_a_program_of_many_initialisations_ends():
    """With one thread, LAPACK calls inside one program once waited for each other for ever."""
    network = ValueNetwork(Encoder.for_space(MultiDiscrete([13, 13, *12 * [2]]), "one-hot"), 4)
    start = jax.jit(jax.vmap(network.init), compiler_options={"xla_backend_optimization_level": 0})
    kernels = jax.block_until_ready(start(jax.random.split(jax.random.key(0), 32)))["weights"]["layer_0"]["kernel"]
    assert len(np.unique(np.round(kernels[:, 0, 0], 6))) == 32


PLACES_AND_FLAGS = MultiDiscrete([3, 2, 4, 2, 1], start=[5, 0, -1, 1, 0])


def test_a_factored_code_is_the_place_and_the_flags():
    """Every element of the space has a code of its own, whose first number runs through all places in order."""
    encoder = Encoder.for_space(PLACES_AND_FLAGS, "factored")
    assert (encoder.features, encoder.flags) == (12, 3)
    elements = np.array(list(itertools.product(range(5, 8), range(2), range(-1, 3), range(1, 3), [0])))
    codes = np.asarray(jax.vmap(encoder)(elements))
    assert codes[:, 0].tolist() == (4 * (elements[:, 0] - 5) + elements[:, 2] + 1).tolist()
    assert np.array_equal(codes[:, 1:], np.stack([elements[:, 1], elements[:, 3] - 1, elements[:, 4]], 1))
    assert len(np.unique(codes, axis=0)) == len(elements) == 48


def test_a_factored_table_is_linear_in_what_is_one_hot_where():
    """It equals a plain linear function of place, and of place with each flag, written out as a product."""
    network = ValueNetwork(Encoder.for_space(PLACES_AND_FLAGS, "factored"), 2)
    table = np.random.default_rng(0).normal(size=(12, 4, 2)).astype(np.float32)
    assert network.init(jax.random.key(0))["weights"]["table"].shape == table.shape
    parameters = {"weights": {"table": jnp.asarray(table)}}
    for element in ([5, 0, -1, 1, 0], [6, 1, 0, 1, 0], [7, 1, 2, 2, 0]):
        place = np.eye(12)[4 * (element[0] - 5) + element[2] + 1]
        wanted = np.einsum("p,f,pfo->o", place, [1, element[1], element[3] - 1, element[4]], table)
        np.testing.assert_allclose(network.apply(parameters, network.encoder(np.array(element))), wanted, rtol=1e-5)


def test_a_factored_network_without_flags_or_without_places():
    """Without flags it is a table; without places it is linear in the flags; parts of a Dict are joined."""
    assert Encoder.for_space(Discrete(7), "factored").flags == 0
    table = ValueNetwork(Encoder.for_space(Discrete(7), "factored"), 2)
    parameters = {"weights": {"table": jnp.arange(14.0).reshape(7, 1, 2)}}
    assert np.asarray(table.apply(parameters, table.encoder(3))).tolist() == [6.0, 7.0]
    flags = ValueNetwork(Encoder.for_space(MultiBinary(3), "factored"), 1)
    parameters = {"weights": {"table": jnp.array([[[1.0], [2.0], [4.0], [8.0]]])}}
    assert float(flags.apply(parameters, flags.encoder(np.array([1, 0, 1])))[0]) == 11.0
    both = Encoder.for_space(Dict(has=MultiBinary(2), where=Discrete(5)), "factored")
    assert np.asarray(both({"has": np.array([0, 1]), "where": 4})).tolist() == [4, 0, 1]


def test_an_action_bias_of_a_factored_policy_holds_in_every_state():
    policy = PolicyNetwork.for_spaces(PLACES_AND_FLAGS, Discrete(4), "factored")
    parameters = policy.init(jax.random.key(1), 2.0)
    logits = [policy.distribution(parameters, np.array(e)).logits for e in ([5, 0, -1, 1, 0], [7, 1, 2, 2, 0])]
    assert np.array_equal(*logits)
    assert np.std(logits[0]) > 0.1


def test_a_factored_network_needs_bounded_integers_and_room():
    with pytest.raises(ValueError, match="factored network needs a bounded integer observation space"):
        Encoder.for_space(Box(-1, 1, (2,)), "factored")
    with pytest.raises(ValueError, match="would have 27000000 rows"):
        Encoder.for_space(MultiDiscrete([300, 300, 300]), "factored")
    with pytest.raises(ValueError, match="factored"):
        Encoder.for_space(Discrete(3), "factord")
