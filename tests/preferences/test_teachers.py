"""Teachers against closed forms of their margins and choices, and that nobody else learns their reward."""

import copy
import dataclasses
import gc
import pickle
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

import prefront
from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.exact import mdp as exact
from prefront.exact.tables import TabularMDP
from prefront.preferences.choice import Chebyshev, Choice, Linear, Thresholded
from prefront.preferences.items import Options
from prefront.preferences.segment_scores import STATISTICS, segment_margin
from prefront.preferences.segments import Segments, sample_segments
from prefront.preferences.teachers import Teacher, ideal_point, utility_margin

GAMMA = 0.9
TABLE = Delivery().table()
# Wide enough that no probability is rounded to 0 or 1.
UNIT = 50.0


def pairs(number, length=3, seed=0, mdp=TABLE, absorbing=True):
    rng = np.random.default_rng(seed)
    return [sample_segments(mdp, number, length, rng, absorbing=absorbing) for _ in range(2)]


def random_mdp(seed, outcomes):
    rng = np.random.default_rng(seed)
    return TabularMDP(
        rng.integers(6, size=(6, 3, outcomes)),
        rng.dirichlet(np.ones(outcomes), (6, 3)),
        rng.normal(size=(6, 3, outcomes, 2)),
        np.arange(6) == 5,
        np.append(np.full(5, 0.2), 0.0),
    ), rng.normal(size=2)


def difference(margin, first, second):
    """Recovers f1 - f2 from the probabilities of a teacher of rationality 1 and scale `UNIT`."""
    chances = Teacher(margin, Choice(1.0), scale=UNIT).choice_probabilities(first, second)
    return UNIT * (np.log(chances[:, 2]) - np.log(chances[:, 0]))


def by_return(weights, choice=None, scale=1.0, **kwargs):
    """A person who compares partial returns."""
    return Teacher(segment_margin("partial_return", Linear(weights), **kwargs), choice, scale=scale)


def by_definition(statistic, mdp, weights, segments, gamma, discount, myopia=1.0):
    solution = exact.solve(mdp, exact.expected_rewards(mdp, weights), gamma)
    values, q = solution.values, solution.action_values
    out = []
    for i in range(len(segments)):
        length, total = int(segments.lengths[i]), 0.0
        for t in range(length):
            s, a = segments.states[i, t], segments.actions[i, t]
            step = values[s] - q[s, a] if statistic in ("general_regret", "optimal_advantage") else -1.0
            gained = segments.rewards[i, t] @ weights
            term = -step if statistic in ("general_regret", "optimal_advantage") else gained
            total += discount**t * myopia ** (length - 1 - t) * term
        if statistic == "deterministic_regret":
            total += discount**length * values[segments.states[i, length]] - values[segments.states[i, 0]]
        out.append(total)
    return np.array(out)


@settings(max_examples=20)
@given(
    st.integers(0, 10**6),
    st.sampled_from(STATISTICS),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.sampled_from([1.0, 0.5]),
)
def test_statistics_equal_their_definitions(seed, statistic, outcomes, absorbing, myopia):
    mdp, weights = random_mdp(seed, outcomes)
    first, second = pairs(8, 4, seed, mdp, absorbing)
    margin = segment_margin(statistic, Linear(weights), mdp=mdp, gamma=GAMMA, discount=0.8, myopia=myopia)
    expected = [by_definition(statistic, mdp, weights, s, GAMMA, 0.8, myopia) for s in (first, second)]
    assert np.allclose(difference(margin, first, second), expected[0] - expected[1], atol=1e-8)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans())
def test_general_regret_equals_deterministic_regret_on_deterministic_transitions(seed, absorbing):
    mdp, weights = random_mdp(seed, 1)
    first, second = pairs(10, 4, seed, mdp, absorbing)
    found = [
        difference(segment_margin(name, Linear(weights), mdp=mdp, gamma=GAMMA, discount=GAMMA), first, second)
        for name in ("general_regret", "deterministic_regret", "optimal_advantage")
    ]
    assert np.allclose(found[0], found[1], atol=1e-8)
    assert np.array_equal(found[0], found[2])


def test_undiscounted_regrets_differ_by_the_values_on_the_way():
    first, second = pairs(50)
    general, deterministic = (
        difference(segment_margin(name, Linear(PUBLISHED_WEIGHTS), mdp=TABLE, gamma=GAMMA), first, second)
        for name in ("general_regret", "deterministic_regret")
    )
    values = exact.solve(TABLE, exact.expected_rewards(TABLE, PUBLISHED_WEIGHTS), GAMMA).values
    gap = [(1 - GAMMA) * values[s.states[:, 1:]].sum(1) for s in (first, second)]
    assert np.allclose(deterministic - general, gap[0] - gap[1], atol=1e-6)


def test_noiseless_answers_follow_the_statistic_and_tie():
    first, second = pairs(400)
    dataset = by_return(PUBLISHED_WEIGHTS).ask(first, second, np.random.default_rng(0))
    returns = [s.features() @ PUBLISHED_WEIGHTS for s in (first, second)]
    assert np.array_equal(dataset.labels, (np.sign(returns[0] - returns[1]) + 1) / 2)
    assert (dataset.labels == 0.5).sum() > 10
    # 0.1 + 0.2 against 0.3: equal but for rounding, so a tie.
    one = Segments(
        np.zeros((1, 3), int), np.zeros((1, 2), int), np.array([[[0.1], [0.2]]]), np.array([2]), np.array([False])
    )
    other = Segments(
        np.zeros((1, 3), int), np.zeros((1, 2), int), np.array([[[0.3], [0]]]), np.array([2]), np.array([False])
    )
    assert by_return([1.0]).ask(one, other, np.random.default_rng(0)).labels == 0.5


def scalar_pairs(first, second):
    """Pairs of segments of one step whose partial returns are the given numbers."""
    out = []
    for values in (first, second):
        n = len(values)
        features = np.asarray(values, float).reshape(n, 1, 1)
        out.append(Segments(np.zeros((n, 2), int), np.zeros((n, 1), int), features, np.ones(n, int), np.zeros(n, bool)))
    return out


def test_choice_probabilities_in_closed_form():
    f1, f2 = np.array([3.0, -2.0, 0.1, 1e5]), np.array([1.0, 5.0, 0.0, -1e5])
    one, other = scalar_pairs(f1, f2)

    def chances(skip_below=-np.inf, **kwargs):
        return by_return([1.0], Choice(**kwargs), 2.0, skip_below=skip_below).choice_probabilities(one, other)

    p = expit(0.7 * (f1 - f2) / 2.0)
    assert np.allclose(chances(rationality=0.7), np.stack([1 - p, p * 0, p, p * 0], 1))
    p = 0.9 * p + 0.1 * (1 - p)
    assert np.allclose(chances(rationality=0.7, mistakes=0.1)[:, 2], p)
    assert np.allclose(chances(mistakes=0.25)[:, 2], [0.75, 0.25, 0.75, 0.75])
    assert np.allclose(chances(rationality=0.0)[:, 2], 0.5)
    assert np.array_equal(chances(equal_within=0.05)[2], [0, 1, 0, 0])
    assert np.array_equal(chances(equal_within=0.04)[2], [0, 0, 1, 0])
    assert np.array_equal(chances(skip_below=2.0)[:, 3], [0, 0, 1, 0])


def test_answers_are_drawn_with_their_probabilities():
    f1, f2 = np.repeat([0.3, 0.0, -1.0], 5000), np.zeros(15_000)
    teacher = by_return([1.0], Choice(1.0, mistakes=0.1, equal_within=0.1))
    one, other = scalar_pairs(f1, f2)
    labels = teacher.ask(one, other, np.random.default_rng(0)).labels
    for value in (0.3, -1.0):
        seen = labels[f1 == value]
        p = 0.9 * expit(value) + 0.1 * expit(-value)
        assert stats.chisquare([(seen == 1).sum(), (seen == 0).sum()], [5000 * p, 5000 * (1 - p)]).pvalue > 1e-3
    assert (labels[f1 == 0] == 0.5).all()


def test_rationality_is_relative_to_the_spread_of_the_statistic():
    """A thousand times the reward leaves a person as rational as before; with a fixed scale it does not."""
    reference = sample_segments(TABLE, 2000, 3, np.random.default_rng(5), absorbing=True)
    first, second = pairs(300)

    def chances(factor, scale=reference):
        return by_return(factor * PUBLISHED_WEIGHTS, Choice(2.0), scale).choice_probabilities(first, second)

    assert np.allclose(chances(1), chances(1000))
    assert not np.allclose(chances(1, 1.0), chances(1000, 1.0))
    unit = (reference.features() @ PUBLISHED_WEIGHTS).std()
    assert np.allclose(chances(1), chances(1, unit))
    with pytest.raises(ValueError, match="scale of 'person 0' must be positive, got 0"):
        by_return(np.zeros(6), Choice(1.0), reference)


def test_utilities_that_are_not_linear():
    first, second = pairs(200)
    returns = [s.features() for s in (first, second)]
    weights, ideal, thresholds = np.arange(1.0, 7.0), np.full(6, 2.0), np.array([1, 1, 0, 1, np.inf, 0])
    worst = [-(weights * (ideal - r)).max(1) for r in returns]
    margin = segment_margin("partial_return", Chebyshev(weights, ideal))
    assert np.allclose(difference(margin, first, second), worst[0] - worst[1])
    enough = [np.minimum(r, thresholds) @ weights for r in returns]
    margin = segment_margin("partial_return", Thresholded(weights, thresholds))
    assert np.allclose(difference(margin, first, second), enough[0] - enough[1])
    # Regret of every objective by itself, and the worst of them.
    mdp, _ = random_mdp(0, 3)
    first, second = pairs(50, 3, 0, mdp)
    each = [
        np.stack([by_definition("general_regret", mdp, row, s, GAMMA, 1.0) for row in np.eye(2)], 1)
        for s in (first, second)
    ]
    margin = segment_margin("general_regret", Chebyshev([1.0, 3.0], [0, 0]), mdp=mdp, gamma=GAMMA)
    expected = [-(np.array([1.0, 3.0]) * -e).max(1) for e in each]
    assert np.allclose(difference(margin, first, second), expected[0] - expected[1], atol=1e-8)


def test_a_person_likes_what_lies_near_their_ideal():
    rng = np.random.default_rng(0)
    first, second = (Options(rng.normal(size=(50, 3))) for _ in range(2))
    ideals, person = rng.normal(size=(2, 3)), rng.integers(2, size=50)
    teacher = Teacher(utility_margin(ideal_point(ideals)), names=("ann", "bob"))
    answers = teacher.ask(first, second, rng, person=person)
    away = [np.sqrt(((side.values - ideals[person]) ** 2).sum(1)) for side in (first, second)]
    assert np.array_equal(answers.labels, away[0] < away[1])


def test_what_a_person_likes_may_depend_on_the_context():
    rng = np.random.default_rng(0)
    first, second = (Options(rng.integers(3, size=(50, 1)), np.sign(rng.normal(size=(50, 1)))) for _ in range(2))
    moody = Teacher(lambda one, other, person: (one.context * (one.values - other.values))[:, 0])
    expected = np.sign(first.context * (first.values - second.values))[:, 0]
    assert np.array_equal(moody.ask(first, second, rng).labels, (expected + 1) / 2)


def test_a_population_answers_by_everybodys_own_weights():
    weights = np.array([PUBLISHED_WEIGHTS, -PUBLISHED_WEIGHTS, np.eye(6)[3]])
    teacher = Teacher(segment_margin("partial_return", Linear(weights)), names=("ann", "bob", "coe"))
    first, second = pairs(600)
    dataset = teacher.ask(first, second, np.random.default_rng(1))
    assert stats.chisquare(np.bincount(dataset.person)).pvalue > 1e-3
    for who, own in dataset.by_person().items():
        row = weights[teacher.names.index(who)]
        difference = (own.first.features() - own.second.features()) @ row
        assert np.array_equal(own.labels, (np.sign(difference) + 1) / 2)
        assert own.names == (who,)
    only = teacher.ask(first, second, np.random.default_rng(1), person=1)
    assert only.names == ("bob",)
    again = teacher.relabel(dataset, np.random.default_rng(3))
    assert np.array_equal(again.labels, dataset.labels)
    with pytest.raises(ValueError, match=r"row 0: person must lie in \[0, 3\), got 7"):
        teacher.ask(first, second, np.random.default_rng(1), person=7)


def test_the_same_generator_gives_the_same_answers():
    first, second = pairs(100)
    teacher = Teacher(segment_margin("general_regret", Linear(PUBLISHED_WEIGHTS), mdp=TABLE), Choice(1.0), scale=20.0)
    one, two, three = (teacher.ask(first, second, np.random.default_rng(seed)).labels for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_skipped_pairs_leave_the_dataset():
    one, other = scalar_pairs([-5.0, 5.0, 0.0], [-6.0, -5.0, 1.0])
    dataset = by_return([1.0], skip_below=-1.0).ask(one, other, np.random.default_rng(0))
    assert np.array_equal(dataset.labels, [1, 0])
    with pytest.raises(ValueError, match="All 3 pairs were skipped"):
        by_return([1.0], skip_below=9.0).ask(one, other, np.random.default_rng(0))
    with pytest.raises(ValueError, match="one or more pairs, got 0"):
        by_return([1.0]).ask(one[:0], other[:0], np.random.default_rng(0))


def reachable(thing):
    """Every object that can be reached from one without leaving data for code."""
    seen, queue = {}, [thing]
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, types.ModuleType | type | types.BuiltinFunctionType):
            continue
        seen[id(one)] = one
        if not isinstance(one, types.FunctionType):
            queue += gc.get_referents(one)
        else:
            queue += [cell.cell_contents for cell in one.__closure__ or ()]
    return seen.values()


def holds_reward(thing, secrets):
    arrays = [
        np.asarray(one, np.float64).ravel() for one in reachable(thing) if isinstance(one, np.ndarray | jax.Array)
    ]
    return any(
        array.size >= secret.size
        and np.isclose(np.lib.stride_tricks.sliding_window_view(array, secret.size), secret).all(-1).any()
        for array in arrays
        for secret in secrets
    )


def test_what_a_model_receives_does_not_hold_the_reward(tmp_path):
    weights = np.array([-1.37, 41.3, -53.9, 1.71, -1.13, -2.39])
    values = exact.solve(TABLE, exact.expected_rewards(TABLE, weights), 0.999).values
    secrets = [weights, values]
    teacher = Teacher(segment_margin("general_regret", Linear(weights), mdp=TABLE), Choice(1.0), scale=10.0)
    dataset = teacher.ask(*pairs(50), np.random.default_rng(0))
    # The search does find the reward where it is: in the teacher.
    assert holds_reward(teacher, secrets)
    assert not holds_reward(dataset, secrets)
    assert Teacher not in {type(one) for one in reachable(dataset)}
    dataset.save(tmp_path / "answers.safetensors")
    stored = (tmp_path / "answers.safetensors").read_bytes()
    for dtype in (np.float64, np.float32):
        assert weights.astype(dtype).tobytes() not in stored


def test_a_teacher_shows_and_gives_away_nothing():
    weights = np.array([-1.37, 41.3, -53.9, 1.71, -1.13, -2.39])
    teacher = by_return(weights)
    public = {name: getattr(teacher, name) for name in dir(teacher) if not name.startswith("_")}
    data = [value for value in public.values() if not callable(value)]
    assert not any(holds_reward(value, [weights]) for value in data)
    assert "41.3" not in repr(teacher)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="true reward"):
            copying(teacher)
    # No other module reaches into a teacher by its private names.
    for file in Path(prefront.__file__).parent.rglob("*.py"):
        if file.name != "teachers.py":
            assert "_Teacher__" not in file.read_text()


def test_weights_changed_from_outside_change_no_teacher():
    weights = PUBLISHED_WEIGHTS.copy()
    first, second = pairs(100)
    teacher = by_return(weights)
    before = teacher.ask(first, second, np.random.default_rng(0)).labels
    weights *= -1
    assert np.array_equal(teacher.ask(first, second, np.random.default_rng(0)).labels, before)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="Did you mean general_regret"):
        segment_margin("generl_regret", Linear([1.0]))
    with pytest.raises(ValueError, match="pass mdp"):
        segment_margin("general_regret", Linear(PUBLISHED_WEIGHTS))
    with pytest.raises(ValueError, match=r"discount must lie in \(0, 1\], got 2"):
        segment_margin("partial_return", Linear([1.0]), discount=2)
    with pytest.raises(ValueError, match=r"myopia must lie in \(0, 1\], got 0"):
        segment_margin("partial_return", Linear([1.0]), myopia=0)
    with pytest.raises(ValueError, match="at least one person"):
        Teacher(segment_margin("partial_return", Linear([1.0])), names=())
    two = Linear([[1.0, 0.0], [0.0, 1.0]])
    assert Teacher(segment_margin("partial_return", two)).names == ("person 0", "person 1")
    assert Teacher(utility_margin(ideal_point([[0.0], [1.0], [2.0]]))).names[2:] == ("person 2",)
    with pytest.raises(ValueError, match=r"names must name the 2 persons of the margin, got 1 names"):
        Teacher(segment_margin("partial_return", two), names=("ann",))
    with pytest.raises(ValueError, match="scale of 'person 0' must be positive, got inf"):
        by_return([1.0], scale=np.inf)
    with pytest.raises(ValueError, match=r"margin must have shape \(3,\), one a pair, got \(\)"):
        Teacher(lambda first, second, person: 0.0).ask(*pairs(3), np.random.default_rng(0))
    with pytest.raises(ValueError, match="6 features, the teacher's reward has 1"):
        by_return([1.0]).ask(*pairs(3), np.random.default_rng(0))
    for wrong in (
        {"rationality": -1.0},
        {"rationality": np.inf},  # None is without noise.
        {"mistakes": 0.7},
        {"mistakes": np.nan},
        {"equal_within": -1.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Choice(**wrong)
    first, second = pairs(3)
    broken = first.states.copy()
    broken[1, 2] = 100
    far = Segments(broken, first.actions, first.rewards, first.lengths, first.ended, True)
    with pytest.raises(ValueError, match=r"row 1, step 2: states must lie in \[0, 100\), got 100"):
        Teacher(segment_margin("general_regret", Linear(PUBLISHED_WEIGHTS), mdp=TABLE)).ask(
            far, second, np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear([np.nan, 1.0]), "finite, of shape .* got .nan"),
        (lambda: Linear([]), "Weights must be"),
        (lambda: Linear("ab"), "Weights must be numbers, got 'ab'"),
        (lambda: Chebyshev([-1.0, 1.0], [0.0, 0.0]), "must not be negative"),
        (lambda: Chebyshev([1.0, 1.0], [0.0]), r"ideal must be finite, of shape \(2,\), .* got \[0.0\]"),
        (lambda: Chebyshev([1.0, 1.0], [0.0, np.inf]), "ideal must be finite"),
        (lambda: Thresholded([1.0, 1.0], [0.0, np.nan]), "thresholds must be numbers above -inf"),
        (lambda: Thresholded([1.0, 1.0], 1.0), r"thresholds .* of shape \(2,\)"),
    ],
)
def test_utilities_of_the_wrong_shape_or_without_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    Thresholded([1.0, 1.0], [0.0, np.inf])


@pytest.mark.parametrize("statistic", ["partial_return", "deterministic_regret", "general_regret"])
def test_padding_may_hold_anything(statistic):
    rng = np.random.default_rng(4)
    mdp = Delivery().table()
    first, second = (sample_segments(mdp, 40, 6, rng) for _ in range(2))
    assert not first.mask.all()
    teacher = Teacher(segment_margin(statistic, Linear(PUBLISHED_WEIGHTS), mdp=mdp), Choice(1.0), scale=10.0)
    outside = np.concatenate([np.ones((40, 1), bool), first.mask], 1)
    spoilt = dataclasses.replace(
        first,
        states=np.where(outside, first.states, -7),
        actions=np.where(first.mask, first.actions, 99),
        rewards=np.where(first.mask[..., None], first.rewards, np.nan),
    )
    as_was = teacher.choice_probabilities(first, second)
    assert np.array_equal(teacher.choice_probabilities(spoilt, second), as_was)
