"""Logistic regression against independent optimisers, in any units, and separable answers against geometry."""

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from prefront.preferences.models import logistic
from prefront.preferences.models.fitting import Descent
from prefront.preferences.models.logistic import fit_logistic, separating_direction

SHORT = Descent(1.0, 60, 60)


def drawn(seed, ratio, n=300, d=4):
    """Correlated features whose sizes differ by up to `ratio`, and answers with ties."""
    rng = np.random.default_rng(seed)
    unit = rng.permutation(ratio ** np.linspace(-0.5, 0.5, d))
    plain = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
    labels = (rng.random(n) < expit(plain @ rng.normal(size=d))) * 1.0
    labels[: n // 20] = 0.5
    return plain, unit, labels


def optimum(plain, unit, labels, l2):
    """The least penalised loss, by L-BFGS in features of unit size and Newton's steps from where that ends."""

    def objective(w):
        score = plain @ w
        loss = np.mean(np.logaddexp(0, score) - labels * score) + 0.5 * l2 * np.sum((w / unit) ** 2)
        return loss, plain.T @ (expit(score) - labels) / len(plain) + l2 * w / unit**2

    w = optimize.minimize(objective, np.zeros(plain.shape[1]), jac=True, method="L-BFGS-B", options={"ftol": 1e-15}).x
    for _ in range(20):
        chance = expit(plain @ w)
        hessian = (plain * (chance * (1 - chance))[:, None]).T @ plain / len(plain) + np.diag(l2 / unit**2)
        w = w - np.linalg.solve(hessian, objective(w)[1])
    return objective, w


@pytest.mark.parametrize("l2", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("ratio", [1.0, 1e2, 1e4, 1e6])
def test_fits_reach_the_optimum_whatever_the_sizes_of_features(ratio, l2):
    for seed in range(20):
        plain, unit, labels = drawn(seed, ratio)
        objective, best = optimum(plain, unit, labels, l2)
        found = fit_logistic(plain * unit, labels, l2=l2)
        assert objective(found.weights * unit)[0] <= objective(best)[0] + 1e-12
        np.testing.assert_allclose(expit(plain * unit @ found.weights), expit(plain @ best), atol=1e-6)
        score = plain @ (found.weights * unit)
        assert found.loss == pytest.approx(np.mean(np.logaddexp(0, score) - labels * score), abs=1e-12)


@pytest.mark.parametrize("separable", [False, True])
def test_units_change_no_probability(separable):
    plain, _, labels = drawn(0, 1.0)
    labels = (plain @ [1.0, -2.0, 0.5, 0.1] > 0) * 1.0 if separable else labels
    expected = expit(plain @ fit_logistic(plain, labels, SHORT).weights)
    for unit in (np.full(4, 1e-150), np.full(4, 1e150), np.array([1e-6, 1.0, 1e6, 1e-3])):
        found = fit_logistic(plain * unit, labels, SHORT)
        np.testing.assert_allclose(expit(plain * unit @ found.weights), expected, atol=1e-7)


@pytest.mark.parametrize("gap", [1e-3, 1e-5])
def test_nearly_separable_answers_have_a_finite_optimum(gap):
    """Two answers contradict each other by as little as `gap` between features far apart."""
    x = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [0.0, 1.0], [-gap, 0.0], [gap, -gap]])
    assert separating_direction(x, np.ones(6)) is None
    objective, best = optimum(x, np.ones(2), np.ones(6), 0.0)
    found = fit_logistic(x, np.ones(6))
    assert found.loss <= objective(best)[0] + 1e-12
    assert np.linalg.norm(objective(found.weights)[1]) < 1e-8
    # One answer turned, and all lie on one side.
    x[5, 0] = -gap
    assert separating_direction(x[[1, 3, 4]], np.ones(3)) is not None


@pytest.mark.parametrize("seed", range(5))
def test_separability_equals_that_of_all_directions_in_the_plane(seed):
    """Small whole numbers, so that answers often lie on the border; a grid of angles holds every border exactly."""
    rng = np.random.default_rng(seed)
    borders = np.array([[a, b] for a in range(-3, 4) for b in range(-3, 4) if a or b])
    # Where the sides of two borders meet, a direction lies on one of them or between two.
    order = borders[np.argsort(np.arctan2(borders[:, 1], borders[:, 0]))]
    between = np.vstack([borders, order / np.linalg.norm(order, axis=1, keepdims=True)])
    between = np.vstack([between, between[len(borders) :] + np.roll(between[len(borders) :], 1, axis=0)])
    seen = set()
    for _ in range(60):
        x = rng.integers(-3, 4, (rng.integers(2, 7), 2)) * 1.0
        labels = rng.choice([0.0, 1.0, 0.5], len(x), p=[0.4, 0.4, 0.2])
        margins = between @ (x * (2 * labels - 1)[:, None]).T
        no_worse = (margins >= -1e-12)[:, labels != 0.5].all(1) & (np.abs(between @ x[labels == 0.5].T) < 1e-12).all(1)
        exists = bool((no_worse & (margins > 1e-12).any(1)).any())
        assert (separating_direction(x, labels) is not None) == exists
        found = fit_logistic(x, labels, SHORT)
        assert np.isfinite(found.weights).all()
        seen.add(exists)
    assert seen == {False, True}


def test_partly_separable_answers_reach_the_infimum():
    """One feature decides all answers that it appears in; the others contradict each other."""
    plain, _, labels = drawn(1, 1.0)
    rare = np.zeros((300, 1))
    rare[:20, 0], labels[:20] = 1.0, 1.0
    x = np.hstack([plain, rare])
    assert separating_direction(x, labels) is not None
    objective, best = optimum(plain[20:], np.ones(4), labels[20:], 0.0)
    assert fit_logistic(x, labels).loss == pytest.approx(objective(best)[0] * 280 / 300, abs=2e-9)


def test_a_fit_that_stops_short_says_so(monkeypatch):
    plain, _, labels = drawn(0, 1.0)
    monkeypatch.setattr(logistic, "NEWTON_STEPS", 1)
    with pytest.warns(RuntimeWarning, match=r"did not converge in 1 steps.*gradient's norm is [0-9.e-]+ nats"):
        fit_logistic(plain, labels)


def test_what_says_nothing_changes_nothing():
    assert (fit_logistic(np.zeros((5, 2)), np.ones(5)).weights == 0).all()
    plain, _, labels = drawn(2, 1.0)
    twice = np.hstack([plain, plain[:, :1], np.zeros((300, 1))])
    found = fit_logistic(twice, labels)
    assert found.loss == pytest.approx(fit_logistic(plain, labels).loss, abs=1e-14)
    assert found.weights[0] == pytest.approx(found.weights[4])
    assert found.weights[5] == 0
    for l2 in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="l2 must be at least 0 and finite, got"):
            fit_logistic(plain, labels, l2=l2)
