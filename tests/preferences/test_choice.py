"""Choice rules: by hand, and the same on NumPy and inside compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefront.preferences.choice import answer_probabilities


def first_is_chosen(difference, rationality, mistakes):
    return answer_probabilities(jnp.array([difference]), rationality, mistakes=mistakes)[0, 2]


def test_choice_probability_by_hand():
    assert first_is_chosen(0.0, 3.0, 0.1) == pytest.approx(0.5)
    assert first_is_chosen(100.0, 3.0, 0.1) == pytest.approx(0.9)
    assert first_is_chosen(1.0, np.log(3.0), 0.0) == pytest.approx(0.75)
    assert first_is_chosen(5.0, 0.0, 0.3) == pytest.approx(0.5)


@pytest.mark.parametrize("rationality", [None, 2.0])
@pytest.mark.parametrize("equal_within", [None, 0.3])
def test_compiled_programs_choose_as_numpy_does(rationality, equal_within):
    margin = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    margin[:, :5], margin[:, 5:9] = 0.0, np.nan
    rest = {"scale": 2.0, "mistakes": 0.1, "equal_within": equal_within}
    on_host = answer_probabilities(margin, rationality, **rest)
    compiled = jax.jit(lambda one: answer_probabilities(one, rationality, **rest))(margin)
    np.testing.assert_allclose(compiled, on_host, atol=1e-6)
    assert on_host.shape == (3, 50, 4)
    np.testing.assert_allclose(on_host.sum(-1), 1, rtol=1e-6)
    assert np.array_equal(on_host[:, 5:9], np.broadcast_to([0, 0, 0, 1], (3, 4, 4)))
