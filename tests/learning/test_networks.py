"""Initial weights of the networks."""

import itertools

import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete

from prefront.learning.networks import ValueNetwork


@pytest.mark.parametrize(("inputs", "hidden"), [(2, (64, 64)), (64, (64, 64)), (100, (4, 40)), (3, ())])
def test_layers_start_orthogonal_with_the_gain_of_their_kind(inputs, hidden):
    network = ValueNetwork.for_space(Box(-1, 1, (inputs,)), 3, "mlp", hidden)
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
    network = ValueNetwork.for_space(MultiDiscrete([13, 13, *12 * [2]]), 4, "one-hot", (64, 64))
    start = jax.jit(jax.vmap(network.init), compiler_options={"xla_backend_optimization_level": 0})
    kernels = jax.block_until_ready(start(jax.random.split(jax.random.key(0), 32)))["weights"]["layer_0"]["kernel"]
    assert len(np.unique(np.round(kernels[:, 0, 0], 6))) == 32
