"""The search for reward weights: exact where the problem is convex, and never worse than what it began from."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit

from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.envs.random_delivery import RandomDelivery, generate
from prefront.exact import mdp as exact
from prefront.exact.tables import unstack
from prefront.preferences.choice import Choice, Linear
from prefront.preferences.evaluation import evaluate_reward
from prefront.preferences.models.base import cross_entropy, fit_many
from prefront.preferences.models.exact_regret import ExactRegret
from prefront.preferences.models.regret import SuccessorFeatureRegret
from prefront.preferences.models.regret_search import Search, candidate_weights
from prefront.preferences.segment_scores import choice_features, evaluate, pair_form, segment_margin
from prefront.preferences.segments import sample_segments
from prefront.preferences.successor_sets import random_reward_features
from prefront.preferences.teachers import Teacher

TABLE = Delivery().table()
FEATURES = random_reward_features(TABLE, np.random.default_rng(0), 12)
SEARCH = Search(candidates=32, starts=3, steps=30)


def answers(number, seed=0, rationality=0.1, mdp=TABLE, weights=PUBLISHED_WEIGHTS):
    rng = np.random.default_rng(seed)
    pair = [sample_segments(mdp, number, 3, rng, absorbing=True) for _ in range(2)]
    choice = Choice(rationality)
    return Teacher(segment_margin("deterministic_regret", Linear(weights), mdp=mdp), choice).ask(*pair, rng)


def descended(mdp, dataset, rounds=40, steps=5, rate=0.5):
    """Adam from zero on the loss with exact values, solved anew every few steps: what the search replaced."""
    form, labels = pair_form(dataset, "deterministic_regret", mdp), np.asarray(dataset.labels)
    w, mean, square = np.zeros((3, form.features.shape[1]))
    lowest, best = np.inf, w
    for turn in range(rounds):
        x = choice_features(form, exact.optimal_successor_features(mdp, w[None], 0.999)[0])
        loss = (np.logaddexp(0, x @ w) - labels * (x @ w)).mean()
        lowest, best = min((lowest, best), (loss, w), key=lambda pair: pair[0])
        for step in range(turn * steps + 1, (turn + 1) * steps + 1):
            gradient = (expit(x @ w) - labels) @ x / len(x)
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            w = w - rate * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return lowest, best


def test_a_single_policy_leaves_a_logistic_regression():
    dataset = answers(300)
    one = FEATURES[:1]
    model = SuccessorFeatureRegret(TABLE, one, search=Search(8, 3, 60)).fit(dataset)
    form = pair_form(dataset, "deterministic_regret", TABLE)
    x = choice_features(form, one[0])
    x = x[:, x.any(0)] / np.abs(x[:, x.any(0)]).max(0)

    def loss(w):
        return (np.logaddexp(0, x @ w) - dataset.labels * (x @ w)).mean()

    def slope(w):
        return (expit(x @ w) - dataset.labels) @ x / len(x)

    convex = optimize.minimize(loss, np.zeros(x.shape[1]), jac=slope, method="BFGS", options={"gtol": 1e-10})
    assert model.loss == pytest.approx(convex.fun, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_beats_the_true_weights_and_descent_from_zero(seed):
    dataset = answers(100, seed)
    found = SuccessorFeatureRegret(TABLE, FEATURES, search=SEARCH).fit(dataset)
    descended = SuccessorFeatureRegret(TABLE, FEATURES, search=None).fit(dataset)
    true = SuccessorFeatureRegret(TABLE, FEATURES, weights=0.1 * np.asarray(PUBLISHED_WEIGHTS, float))
    assert found.loss <= cross_entropy(true, dataset) + 1e-9
    assert found.loss <= descended.loss + 1e-2
    assert cross_entropy(found, dataset) == pytest.approx(found.loss, abs=1e-9)


def test_it_repeats_itself_and_never_ends_above_zero_weights():
    dataset = answers(50, 2, None)
    first, again = (SuccessorFeatureRegret(TABLE, FEATURES, search=SEARCH).fit(dataset) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    assert first.loss < np.log(2)
    drawn = candidate_weights(20, np.ones((4, 6)))
    assert drawn.shape == (20, 6)
    assert not drawn[0].any()


def test_more_steps_never_raise_the_loss():
    dataset = answers(80, 3)
    losses = [
        SuccessorFeatureRegret(TABLE, FEATURES, search=dataclasses.replace(SEARCH, steps=steps)).fit(dataset).loss
        for steps in (0, 5, 30)
    ]
    assert losses == sorted(losses, reverse=True)


def test_with_exact_values_it_beats_the_true_weights_and_descent_on_random_tasks():
    """By loss nearly everywhere, and so in how many tasks the policy that follows is near-optimal."""
    params, truths = generate(jax.random.key(105), 20)
    table = RandomDelivery().table(params)
    mdps = unstack(table)
    data = [
        answers(300, seed, None if seed % 2 else 1.0, mdp, truth)
        for seed, (mdp, truth) in enumerate(zip(mdps, truths, strict=True))
    ]
    found = fit_many([ExactRegret(mdp) for mdp in mdps], data)
    loss = np.array([model.loss for model in found])
    by_adam, weights = zip(*(descended(mdp, one) for mdp, one in zip(mdps, data, strict=True)), strict=True)
    true = [
        cross_entropy(ExactRegret(mdp, weights=truth), one) for mdp, truth, one in zip(mdps, truths, data, strict=True)
    ]
    assert (loss <= np.array(by_adam) + 1e-4).mean() >= 0.9
    assert stats.wilcoxon(loss, by_adam, alternative="less").pvalue < 1e-3
    assert (loss <= np.array(true) + 1e-4).mean() >= 0.9
    ours, theirs = (
        evaluate_reward(table, np.array(learned), truths).near_optimal
        for learned in ([model.learned() for model in found], weights)
    )
    assert ours.mean() >= 0.95
    assert ours.sum() >= theirs.sum()


def test_with_exact_values_it_ends_where_no_small_change_helps():
    dataset = answers(300, 5)
    model = ExactRegret(TABLE).fit(dataset)
    form = pair_form(dataset, "deterministic_regret", TABLE)
    w = model.learned()
    scale = np.linalg.norm(w)
    for direction in np.random.default_rng(0).normal(size=(30, 6)):
        near = w + 1e-3 * scale * direction / np.linalg.norm(direction)
        values = exact.solve(TABLE, exact.expected_rewards(TABLE, near), 0.999).values
        difference = evaluate(form, near, values)
        assert (np.logaddexp(0, difference) - dataset.labels * difference).mean() >= model.loss - 1e-5


@pytest.mark.parametrize("unit", [2.0**-10, 2.0**10])
def test_regret_fits_do_not_depend_on_the_units_of_features(unit):
    dataset = answers(60)
    units = np.array([unit, 1.0, 1 / unit, unit, 1.0, 4.0])
    mdp = TABLE._replace(rewards=TABLE.rewards * units)
    sides = [dataclasses.replace(s, rewards=s.rewards * units) for s in (dataset.first, dataset.second)]
    other = dataclasses.replace(dataset, first=sides[0], second=sides[1])
    for plain, scaled in (
        (ExactRegret(TABLE, search=SEARCH), ExactRegret(mdp, search=SEARCH)),
        (
            SuccessorFeatureRegret(TABLE, FEATURES, search=SEARCH),
            SuccessorFeatureRegret(mdp, FEATURES * units, search=SEARCH),
        ),
    ):
        assert scaled.fit(other).loss == pytest.approx(plain.fit(dataset).loss, abs=1e-6)
