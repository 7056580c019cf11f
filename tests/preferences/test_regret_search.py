"""The search for reward weights: exact where the problem is convex, and never worse than what it began from."""

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.preferences.choices import Choice, Linear
from prefront.preferences.exact_regret import choice_features
from prefront.preferences.linear_forms import pair_form
from prefront.preferences.regret_models import SuccessorFeatureRegret
from prefront.preferences.regret_search import Search, candidate_weights
from prefront.preferences.reward_models import cross_entropy
from prefront.preferences.segments import sample_segments
from prefront.preferences.successor_sets import random_reward_features
from prefront.preferences.teachers import Teacher

TABLE = Delivery().table()
FEATURES = random_reward_features(TABLE, np.random.default_rng(0), 12)
SEARCH = Search(candidates=32, starts=3, steps=30)


def answers(number, seed=0, rationality=0.1):
    rng = np.random.default_rng(seed)
    pair = [sample_segments(TABLE, number, 3, rng, absorbing=True) for _ in range(2)]
    choice = Choice(rationality, scale=1.0)
    return Teacher("deterministic_regret", Linear(PUBLISHED_WEIGHTS), choice, mdp=TABLE).ask(*pair, rng)


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
    descended = SuccessorFeatureRegret(TABLE, FEATURES).fit(dataset)
    true = SuccessorFeatureRegret(TABLE, FEATURES, weights=0.1 * np.asarray(PUBLISHED_WEIGHTS, float))
    assert found.loss <= cross_entropy(true, dataset) + 1e-9
    assert found.loss <= descended.loss + 1e-2
    assert cross_entropy(found, dataset) == pytest.approx(found.loss, abs=1e-9)


def test_it_repeats_itself_and_never_ends_above_zero_weights():
    dataset = answers(50, 2, None)
    first, again = (SuccessorFeatureRegret(TABLE, FEATURES, search=SEARCH).fit(dataset) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    assert first.loss < np.log(2)
    drawn = candidate_weights(20, 6)
    assert drawn.shape == (20, 6)
    assert not drawn[0].any()


def test_more_steps_never_raise_the_loss():
    dataset = answers(80, 3)
    losses = [
        SuccessorFeatureRegret(TABLE, FEATURES, search=SEARCH._replace(steps=steps)).fit(dataset).loss
        for steps in (0, 5, 30)
    ]
    assert losses == sorted(losses, reverse=True)
