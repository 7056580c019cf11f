"""Multipliers and the KL controller against steps computed by hand."""

import jax.numpy as jnp
import numpy as np

from prefront.learning.lagrangian import (
    Multipliers,
    annealed_coefficient,
    controlled_coefficient,
    effective,
    multiplier_step,
)


def test_two_steps_of_momentum_in_the_exact_form():
    """Violations .5 and -3 (clipped to -1): buffers .5, -1, then .1 * .5 + .5 = .55 and -1.1."""
    start = Multipliers(jnp.array([1.0, 0.0]), jnp.zeros(2))
    excess = jnp.array([0.5, -3.0])
    first = multiplier_step(start, excess, 0.05, 0.1, "exact", True)
    np.testing.assert_allclose(first.raw, [0.975, 0.05], rtol=1e-6)
    second = multiplier_step(first, excess, 0.05, 0.1, "exact", True)
    np.testing.assert_allclose(second.momentum, [0.55, -1.1], rtol=1e-6)
    np.testing.assert_allclose(second.raw, [0.975 - 0.0275, 0.05 + 0.055], rtol=1e-6)


def test_inequalities_are_projected_and_equalities_may_turn_negative():
    start = Multipliers(jnp.array([0.01]), jnp.zeros(1))
    for equality, expected in ((False, 0.0), (True, 0.01 - 0.05)):
        stepped = multiplier_step(start, jnp.array([2.0]), 0.05, 0.1, "exact", equality)
        np.testing.assert_allclose(stepped.raw, [expected], atol=1e-7)


def test_a_step_of_the_paper_follows_the_gradient_of_its_loss():
    """d/dmu (v - theta) s(mu): at mu = .3 the sigmoid's slope is .244458, that of tanh .915137."""
    start = Multipliers(jnp.array([0.3]), jnp.array([0.2]))
    for equality, slope, squashed in ((False, 0.244458, 0.574443), (True, 0.915137, 0.291313)):
        np.testing.assert_allclose(effective(start.raw, "paper", equality), [squashed], rtol=1e-5)
        stepped = multiplier_step(start, jnp.array([2.0]), 0.1, 0.1, "paper", equality)
        np.testing.assert_allclose(stepped.momentum, [0.02 + 2 * slope], rtol=1e-5)
        np.testing.assert_allclose(stepped.raw, [0.3 - 0.1 * (0.02 + 2 * slope)], rtol=1e-5)


def test_the_controller_moves_by_at_most_two_percent():
    for divergence, factor in ((5.0, 1.0), (5.5, 1.01), (50.0, 1.02), (4.75, 0.995), (0.0, 0.98)):
        np.testing.assert_allclose(controlled_coefficient(jnp.float32(0.4), divergence, 5.0), 0.4 * factor, rtol=1e-6)


def test_annealing_is_geometric():
    values = [float(annealed_coefficient(1.0, 0.04, fraction)) for fraction in (0.0, 0.5, 1.0, 2.0)]
    np.testing.assert_allclose(values, [1.0, 0.2, 0.04, 0.04], rtol=1e-6)
