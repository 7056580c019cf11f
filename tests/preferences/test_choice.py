"""Choice rules: by hand, and the same on NumPy and inside compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.preferences.choice import answer_probabilities


def first_is_chosen(difference, rationality, mistakes):
    sides = jnp.array([difference]), jnp.array([0.0])
    return answer_probabilities(*sides, rationality, mistakes=mistakes)[0, 2]


def test_choice_probability_by_hand():
    assert first_is_chosen(0.0, 3.0, 0.1) == pytest.approx(0.5)
    assert first_is_chosen(100.0, 3.0, 0.1) == pytest.approx(0.9)
    assert first_is_chosen(1.0, np.log(3.0), 0.0) == pytest.approx(0.75)
    assert first_is_chosen(5.0, 0.0, 0.3) == pytest.approx(0.5)


@pytest.mark.parametrize("rationality", [None, 2.0])
@pytest.mark.parametrize(("equal_within", "skip_below"), [(None, None), (0.3, None), (0.3, -0.5)])
def test_compiled_programs_choose_as_numpy_does(rationality, equal_within, skip_below):
    first, second = np.random.default_rng(0).normal(size=(2, 3, 50)).astype(np.float32)
    second[:, :5] = first[:, :5]
    rest = {"scale": 2.0, "mistakes": 0.1, "equal_within": equal_within, "skip_below": skip_below}
    on_host = answer_probabilities(first, second, rationality, **rest)
    compiled = jax.jit(lambda *sides: answer_probabilities(*sides, rationality, **rest))(first, second)
    np.testing.assert_allclose(compiled, on_host, atol=1e-6)
    assert on_host.shape == (3, 50, 4)
    np.testing.assert_allclose(on_host.sum(-1), 1, rtol=1e-6)
