"""Reward models against closed forms, independent optimisers and finite differences; and their common interface."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.envs.random_delivery import RandomDelivery, generate
from prefront.exact import mdp as exact
from prefront.exact.successor_sets import successor_coverage
from prefront.exact.tables import unstack
from prefront.preferences.choice import Choice, Linear
from prefront.preferences.evaluation import evaluate_policy, evaluate_reward
from prefront.preferences.models.advantage import ContrastivePolicy, OptimalAdvantage, contrastive_loss
from prefront.preferences.models.base import NotFittedError, accuracy, cross_entropy, fit_many
from prefront.preferences.models.exact_regret import ExactRegret
from prefront.preferences.models.expanded_regret import ExpandedRegret
from prefront.preferences.models.fitting import Descent, choice_losses, cosine
from prefront.preferences.models.network import NeuralReward
from prefront.preferences.models.partial_return import PartialReturn
from prefront.preferences.models.regret import SuccessorFeatureRegret, fit_soft_regret, soft_values
from prefront.preferences.models.regret_search import Problem, Search, pose
from prefront.preferences.segment_scores import (
    STATISTICS,
    LinearForm,
    choice_features,
    evaluate,
    linear_form,
    pair_form,
    segment_margin,
)
from prefront.preferences.segments import sample_segments
from prefront.preferences.successor_sets import distinct, drop_policy, random_reward_features
from prefront.preferences.teachers import Teacher

GAMMA = 0.999
TABLE = Delivery().table()
SMALL = random_reward_features(TABLE, np.random.default_rng(0), 10)
NOISY = Choice(0.1)
QUICK = Search(candidates=32, starts=2, steps=10)


def answers(number, statistic, mdp=TABLE, weights=PUBLISHED_WEIGHTS, choice=NOISY, seed=0, absorbing=True):
    rng = np.random.default_rng(seed)
    first, second = (sample_segments(mdp, number, 3, rng, absorbing=absorbing) for _ in range(2))
    return Teacher(segment_margin(statistic, Linear(weights), mdp=mdp), choice).ask(first, second, rng)


def maps(number, seed=3, family="deterministic"):
    env = RandomDelivery(family)
    params, weights = generate(jax.random.key(seed), number, family)
    return env.table(params), weights


def models(mdp=TABLE, features=SMALL):
    short = Descent(1.0, 60, 60)
    return [
        PartialReturn(),
        SuccessorFeatureRegret(mdp, features, search=None),
        SuccessorFeatureRegret(mdp, features, statistic="general_regret", search=QUICK),
        ExactRegret(mdp, search=QUICK),
        ExactRegret(mdp, statistic="general_regret", search=QUICK),
        OptimalAdvantage(mdp, descent=short),
        ContrastivePolicy(mdp, descent=short),
        ExpandedRegret(mdp, PUBLISHED_WEIGHTS),
        NeuralReward(4, hidden=(8,), descent=cosine(steps=20)),
        NeuralReward(4, hidden=(8,), members=3, descent=cosine(steps=20)),
    ]


def neural_form(dataset):
    """States as observations of one number, for models that read no tables."""

    def one(segments):
        return dataclasses.replace(segments, states=segments.states[..., None].astype(np.float64))

    return dataclasses.replace(dataset, first=one(dataset.first), second=one(dataset.second))


@pytest.mark.parametrize(("statistic", "absorbing"), [*((one, True) for one in STATISTICS), (STATISTICS[1], False)])
def test_every_model_meets_every_teacher(statistic, absorbing):
    for choice in (Choice(), NOISY):
        dataset = answers(30, statistic, choice=choice, absorbing=absorbing)
        for model in models():
            shown = neural_form(dataset) if isinstance(model, NeuralReward) else dataset
            with pytest.raises(NotFittedError, match=type(model).__name__):
                model.scores(shown.first)
            fitted = model.fit(shown)
            assert type(fitted) is type(model)
            assert model.assumes in STATISTICS
            assert np.isfinite(fitted.log_likelihood(shown))
            p = fitted.probability(shown.first, shown.second)
            assert p.shape == (len(shown),)
            assert np.allclose(p + fitted.probability(shown.second, shown.first), 1)
            by_hand = shown.labels * np.log(np.clip(p, 1e-300, 1)) + (1 - shown.labels) * np.log(
                np.clip(1 - p, 1e-300, 1)
            )
            inside = (p > 1e-9) & (p < 1 - 1e-9)
            assert fitted.log_likelihood(shown) <= by_hand[inside].sum() + 1e-5
            assert cross_entropy(fitted, shown) < np.log(2) + 1e-6 or isinstance(
                model, ContrastivePolicy | NeuralReward
            )
            if hasattr(fitted, "learned") and not isinstance(model, NeuralReward):
                with pytest.raises(NotFittedError):
                    model.learned()


def test_forms_equal_what_the_teachers_compute():
    """A linear form with the true weights and values answers as the teacher does."""
    table, weights = maps(1, family="risky")
    mdp, w = unstack(table)[0], weights[0]
    rng = np.random.default_rng(0)
    values = exact.solve(mdp, exact.expected_rewards(mdp, w), GAMMA).values
    for absorbing in (True, False):
        first, second = (sample_segments(mdp, 60, 4, rng, absorbing=absorbing) for _ in range(2))
        for statistic in ("partial_return", "deterministic_regret", "general_regret"):
            teacher = Teacher(segment_margin(statistic, Linear(w), mdp=mdp, discount=0.9), Choice(1.0), scale=50.0)
            chances = teacher.choice_probabilities(first, second)
            one, other = (evaluate(linear_form(s, statistic, mdp, GAMMA, 0.9), w, values) for s in (first, second))
            assert np.allclose(50 * (np.log(chances[:, 2]) - np.log(chances[:, 0])), one - other, atol=1e-7)


def test_soft_values_tend_to_the_maximum():
    w = np.random.default_rng(1).normal(size=6)
    assert np.allclose(soft_values(SMALL, w, 1e-9), (SMALL @ w).max(0), atol=1e-7)
    assert (soft_values(SMALL, w, 10.0) < (SMALL @ w).max(0) + 1e-9).all()


def test_gradients_equal_finite_differences():
    """Of the soft regret loss, and, by the envelope theorem, of the loss with exact values."""
    dataset = answers(40, "deterministic_regret")
    form, labels = pair_form(dataset, "deterministic_regret", TABLE), dataset.labels
    w = np.random.default_rng(2).normal(size=6)

    def soft(v, temperature=0.5):
        difference = evaluate(form, v, soft_values(SMALL, v, temperature))
        return (np.logaddexp(0, difference) - labels * difference).mean()

    def hard(v):
        difference = evaluate(form, v, exact.solve(TABLE, exact.expected_rewards(TABLE, v), GAMMA).values)
        return (np.logaddexp(0, difference) - labels * difference).mean()

    def numerical(f):
        return np.array([(f(w + 1e-5 * e) - f(w - 1e-5 * e)) / 2e-5 for e in np.eye(6)])

    with jax.enable_x64(True):

        def loss(v):
            values = jnp.asarray(SMALL) @ v
            state = (jax.nn.softmax(values / 0.5, axis=0) * values).sum(0)
            difference = form.features @ v + (form.coefficients * state[form.states]).sum(1)
            return choice_losses(difference, labels).mean()

        assert np.allclose(jax.grad(loss)(jnp.asarray(w)), numerical(soft), rtol=1e-4, atol=1e-6)
        problem, states = pose(form, labels)
        features = SMALL[:, states].transpose(2, 0, 1)
        fit = fit_soft_regret(features, np.ones(len(SMALL), bool), problem, Descent(1e-3, 2, 2), 0.5)
        assert fit.loss < soft(0 * w)
    psi = exact.optimal_successor_features(TABLE, w[None], GAMMA)[0]
    x = choice_features(form, psi)
    by_envelope = (expit(x @ w) - labels) @ x / len(x)
    assert np.allclose(by_envelope, numerical(hard), rtol=1e-4, atol=1e-6)


def test_exact_values_are_exact_and_the_loss_is_that_of_the_weights():
    dataset = answers(100, "deterministic_regret")
    model = ExactRegret(TABLE, search=QUICK).fit(dataset)
    solved = exact.solve(TABLE, exact.expected_rewards(TABLE, model.weights), GAMMA).values
    assert np.array_equal(model.values(), solved)
    assert cross_entropy(model, dataset) == pytest.approx(model.loss, abs=1e-9)
    many = fit_many([ExactRegret(TABLE, search=QUICK)] * 2, [dataset, dataset[:50]])
    assert np.allclose(many[0].weights, model.weights, atol=1e-9)


def test_padding_changes_no_fit():
    """Only states and policies that matter enter the arrays; the result is that of the plain problem."""
    dataset = answers(20, "deterministic_regret")
    short = Descent(0.5, 50, 50)
    model = SuccessorFeatureRegret(TABLE, SMALL, temperature=1.0, search=None, descent=short).fit(dataset)
    form = pair_form(dataset, "deterministic_regret", TABLE)
    with jax.enable_x64(True):
        problem = Problem(LinearForm(*form), dataset.labels, np.full(20, 1 / 20))
        plain = fit_soft_regret(SMALL.transpose(2, 0, 1), np.ones(len(SMALL), bool), problem, short, 1.0)
        assert float(plain.loss) == pytest.approx(model.loss, abs=1e-6)
        assert np.allclose(np.asarray(plain.weights), model.weights, atol=1e-3)
    assert cross_entropy(model, dataset) == pytest.approx(model.loss, abs=1e-9)


def test_successor_sets():
    assert len(distinct(np.concatenate([SMALL, SMALL]))) == len(SMALL)
    assert len(drop_policy(SMALL, SMALL[3])) == len(SMALL) - 1
    assert len(drop_policy(SMALL[:1], SMALL[0])) == 1
    table, _ = maps(3)
    batch = random_reward_features(table, np.random.default_rng(0), 8)
    assert len(batch) == 3
    assert all(one.shape[1:] == (150, 6) and len(one) <= 8 for one in batch)


def test_a_coverage_set_makes_the_soft_model_exact():
    """Its fits have the same loss where values are those of the set as where they are solved for."""
    table, weights = maps(6, seed=111)
    for seed, (mdp, w) in enumerate(zip(unstack(table), weights, strict=True)):
        dataset = answers(100, "deterministic_regret", mdp, w, Choice(1.0), seed)
        features = successor_coverage(mdp).features
        model = SuccessorFeatureRegret(mdp, features).fit(dataset)
        solved = ExactRegret(mdp, weights=model.learned())
        assert cross_entropy(solved, dataset) == pytest.approx(model.loss, abs=1e-2 * max(model.loss, 0.1))
        assert np.allclose(
            (features @ model.learned()).max(0), solved.values(), atol=1e-6 * np.abs(solved.values()).max()
        )


def test_regret_models_recover_rewards_from_their_own_answers():
    """Near-optimal more often than the partial-return model on the same answers, and better than chance on each map."""
    table, weights = maps(24, seed=5)
    parts = unstack(table)
    optimal = exact.solve(table, exact.expected_rewards(table, weights), GAMMA).actions
    true = exact.successor_features(table, optimal, GAMMA)
    features = random_reward_features(table, np.random.default_rng(0))
    features = [drop_policy(psi, one) for psi, one in zip(features, true, strict=True)]
    pairs = list(zip(parts, weights, strict=True))
    data, held = (
        [answers(number, "deterministic_regret", *pair, Choice(), seed + i) for i, pair in enumerate(pairs)]
        for number, seed in ((100, 0), (200, 99))
    )
    fits = {
        "partial": fit_many([PartialReturn()] * 24, data),
        "soft": fit_many([SuccessorFeatureRegret(m, f) for m, f in zip(parts, features, strict=True)], data),
        "exact": fit_many([ExactRegret(m) for m in parts], data),
    }
    quality = {name: evaluate_reward(table, np.array([m.weights for m in own]), weights) for name, own in fits.items()}
    right = {name: np.array([accuracy(m, d) for m, d in zip(own, held, strict=True)]) for name, own in fits.items()}
    for name in ("soft", "exact"):
        assert quality[name].near_optimal.mean() >= 0.75
        assert stats.wilcoxon(right[name], right["partial"], alternative="greater").pvalue < 0.01
        assert np.median(right[name]) > 0.85


def test_contrastive_loss_by_hand():
    first, second, labels = np.array([-0.3, -0.5]), np.array([-0.7, -0.1]), np.array([1.0, 0.5])
    e = np.exp
    by_hand = [
        -np.log(e(-0.3) / (e(-0.3) + e(0.5 * -0.7))),
        -0.5 * np.log(e(-0.5) / (e(-0.5) + e(-0.05))) - 0.5 * np.log(e(-0.1) / (e(-0.1) + e(-0.25))),
    ]
    assert np.allclose(contrastive_loss(first, second, labels, 0.5), by_hand, atol=1e-6)
    model = ContrastivePolicy(TABLE, descent=Descent(0.1, 50, 50)).fit(answers(100, "optimal_advantage"))
    live = ~TABLE.terminal
    assert np.allclose(model.policy().sum(1), 1)
    assert np.allclose(model.table[live], 0.1 * np.log(model.policy()[live]))
    assert (model.table[~live] == 0).all()


def test_the_greedy_use_of_the_advantage_is_near_optimal_at_many_answers():
    dataset = answers(3000, "optimal_advantage", choice=Choice())
    model = OptimalAdvantage(TABLE, descent=Descent(1.0, 400, 400)).fit(dataset)
    quality = evaluate_policy(TABLE, model.greedy_policy(), PUBLISHED_WEIGHTS)
    assert quality.near_optimal
    assert accuracy(model, dataset) > 0.97
    assert np.array_equal(model.reward_table(TABLE), model.table)
    advantages = exact.solve(TABLE, exact.expected_rewards(TABLE, PUBLISHED_WEIGHTS), GAMMA)
    live = ~TABLE.terminal
    true = (advantages.action_values - advantages.values[:, None])[live]
    assert stats.spearmanr(model.table[live].ravel(), true.ravel()).statistic > 0.5


def test_expanded_regret_reduces_to_regret_and_partial_return():
    dataset = answers(400, "deterministic_regret", choice=Choice(1 / 20))
    free, tied, seen = (ExpandedRegret(TABLE, PUBLISHED_WEIGHTS, form).fit(dataset) for form in
                        ("expanded", "regret", "partial_return"))  # fmt: skip
    assert np.allclose(tied.coefficients, tied.coefficients[0] * np.array([1, 1, -1]))
    x = (tied.scores(dataset.first) - tied.scores(dataset.second)) / tied.coefficients[0]
    error = (x**2 * expit(x / 20) * expit(-x / 20)).sum() ** -0.5
    assert abs(tied.coefficients[0] - 1 / 20) < 3.3 * error
    assert seen.coefficients[1] == seen.coefficients[2] == 0
    assert cross_entropy(free, dataset) <= cross_entropy(tied, dataset) + 1e-9
    assert cross_entropy(tied, dataset) < cross_entropy(seen, dataset)
    # With the coefficients (1, 1, -1) it is the regret of the true reward.
    one = dataclasses.replace(free, coefficients=np.array([1.0, 1.0, -1.0]))
    values = exact.solve(TABLE, exact.expected_rewards(TABLE, PUBLISHED_WEIGHTS), GAMMA).values
    regret = evaluate(linear_form(dataset.first, "deterministic_regret", TABLE), PUBLISHED_WEIGHTS, values)
    assert np.allclose(one.scores(dataset.first), regret)


def test_an_ensemble_learns_a_reward_and_disagrees_where_it_has_no_data():
    rng = np.random.default_rng(0)

    def drawn(number, low, high):
        from prefront.preferences.segments import Segments

        x = rng.uniform(low, high, (number, 4, 2))
        features = np.sin(3 * x[:, :-1, :1])
        return Segments(x, rng.integers(2, size=(number, 3)), features, np.full(number, 3), np.zeros(number, bool))

    teacher = Teacher(segment_margin("partial_return", Linear([4.0])), Choice(1.0))
    dataset = teacher.ask(drawn(400, -1, 1), drawn(400, -1, 1), rng)
    model = NeuralReward(2, hidden=(32,), members=4, descent=cosine(steps=300)).fit(dataset)
    held = Teacher(segment_margin("partial_return", Linear([4.0]))).ask(drawn(300, -1, 1), drawn(300, -1, 1), rng)
    assert accuracy(model, held) > 0.8
    near, far = (model.member_probabilities(drawn(300, a, b), drawn(300, a, b)).var(0) for a, b in ((-1, 1), (2, 5)))
    assert stats.mannwhitneyu(far, near, alternative="greater").pvalue < 1e-3
    one = float(model.reward(held.first.states[0, 0], held.first.actions[0, 0]))
    lone = dataclasses.replace(held.first[:1], lengths=np.array([1]))
    assert model.scores(lone)[0] == pytest.approx(one, abs=1e-4)


def test_bad_input_is_named():
    dataset = answers(10, "partial_return")
    with pytest.raises(ValueError, match="Did you mean general_regret"):
        ExactRegret(TABLE, statistic="generl_regret")
    with pytest.raises(ValueError, match=r"features must have shape \(K, 100, 6\)"):
        SuccessorFeatureRegret(TABLE, SMALL[:, :50])
    with pytest.raises(ValueError, match="Did you mean"):
        ExpandedRegret(TABLE, PUBLISHED_WEIGHTS, "expandd")
    with pytest.raises(ValueError, match="cannot be fitted"):
        fit_many([PartialReturn()], [dataset, dataset])
    with pytest.raises(ValueError, match="cannot be fitted"):
        fit_many([PartialReturn(), ExactRegret(TABLE)], [dataset, dataset])
    with pytest.raises(ValueError, match="must agree on the discount gamma"):
        fit_many([ExactRegret(TABLE), ExactRegret(TABLE, 0.9)], [dataset, dataset])
    with pytest.raises(ValueError, match="alpha must be positive"):
        ContrastivePolicy(TABLE, alpha=0.0)
    with pytest.raises(ValueError, match="members must be at least 1, got 0"):
        NeuralReward(4, members=0)
    with pytest.raises(ValueError, match=r"integers in \[0, 2\)"):
        NeuralReward(2).fit(neural_form(dataset))
    far = dataclasses.replace(dataset, first=dataclasses.replace(dataset.first, states=dataset.first.states + 90))
    for model in (ExactRegret(TABLE), OptimalAdvantage(TABLE), ExpandedRegret(TABLE, PUBLISHED_WEIGHTS)):
        with pytest.raises(ValueError, match=r"states must lie in \[0, 100\)"):
            model.fit(far)
    with pytest.raises(ValueError, match="A table needs"):
        linear_form(neural_form(dataset).first, "general_regret", TABLE)
    ties = dataclasses.replace(dataset, labels=np.full(10, 0.5))
    with pytest.raises(ValueError, match="All 10 answers are ties"):
        accuracy(PartialReturn(weights=PUBLISHED_WEIGHTS), ties)
