"""Indicators against closed forms, published figures, brute force and their laws."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import comb

from prefront.envs.deep_sea_treasure import CONCAVE_TREASURES, CONVEX_TREASURES
from prefront.envs.fruit_tree import published_leaves
from prefront.pareto import indicators

relaxed = settings(max_examples=60)
coordinates = st.integers(0, 6).map(float) | st.floats(0, 6, allow_subnormal=False).map(lambda x: round(x, 3))


def fronts(min_points=1, max_points=6, min_objectives=2, max_objectives=4):
    shapes = st.tuples(st.integers(min_points, max_points), st.integers(min_objectives, max_objectives))
    return shapes.flatmap(lambda shape: npst.arrays(np.float64, shape, elements=coordinates))


def pairs_of_fronts(**kwargs):
    return fronts(**kwargs).flatmap(
        lambda first: st.tuples(
            st.just(first),
            st.integers(1, 6).flatmap(lambda n: npst.arrays(np.float64, (n, first.shape[1]), elements=coordinates)),
        )
    )


def treasure_front(treasures, gamma):
    """Diving straight to the treasure in (row, column) takes row + column steps."""
    steps = np.array([row + column for row, column in treasures])
    time = steps if gamma == 1 else (1 - gamma**steps) / (1 - gamma)
    return np.column_stack([np.array(list(treasures.values())) * gamma ** (steps - 1), -time])


def volume_by_inclusion_exclusion(points, reference):
    boxes = np.maximum(points - reference, 0)
    subsets = itertools.chain.from_iterable(
        itertools.combinations(range(len(points)), size) for size in range(1, len(points) + 1)
    )
    return sum((-1) ** (len(subset) + 1) * boxes[list(subset)].min(0).prod() for subset in subsets)


def weakly_dominates(points, reference):
    return all(any((p >= r).all() for p in points) for r in reference)


def quiet_hypervolume(points, reference, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return indicators.hypervolume(points, reference, **kwargs)


def test_hypervolume_golden_value():
    points = [[8.5, 3], [8.5, 3.5], [5, 5], [9, 1], [4, 5]]
    found = indicators.hypervolume(points, [0, 0])
    assert found == 37.75
    assert found.exact
    assert found.seed is None
    assert repr(found) == "Hypervolume(37.75, exact)"


@pytest.mark.parametrize(
    ("treasures", "gamma", "reference", "expected"),
    [
        (CONVEX_TREASURES, 1.0, (0, -50), 994.30),
        (CONVEX_TREASURES, 0.99, (0, -50), 854.8504),
        (CONVEX_TREASURES, 0.98, (0, -50), 731.6139),
        (CONVEX_TREASURES, 1.0, (0, -25), 401.80),
        (CONVEX_TREASURES, 0.99, (0, -25), 360.4009),
        (CONVEX_TREASURES, 0.98, (0, -25), 319.7462),
        (CONCAVE_TREASURES, 1.0, (0, -25), 1155.0),
        (CONCAVE_TREASURES, 0.99, (0, -25), 1101.3844),
        (CONCAVE_TREASURES, 1.0, (0, -50), 4255.0),
        (CONCAVE_TREASURES, 0.99, (0, -50), 3688.3771),
    ],
)
def test_hypervolume_of_deep_sea_treasure_fronts(treasures, gamma, reference, expected):
    front = treasure_front(treasures, gamma)
    assert indicators.cardinality(front) == 10
    assert indicators.hypervolume(front, reference) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("gamma", "reference", "expected"),
    [(1.0, 0, 12575.8733), (0.99, 0, 9302.3782), (1.0, -1, 58271.2584), (0.99, -1, 46034.8017)],
)
def test_hypervolume_of_the_fruit_tree(gamma, reference, expected):
    # The fruit is the only reward, after six moves.
    fruits = published_leaves(6).astype(np.float64) * gamma**5
    assert indicators.cardinality(fruits) == 64
    found = indicators.hypervolume(fruits, np.full(6, reference))
    assert found.exact
    assert found == pytest.approx(expected, abs=6e-5)


@relaxed
@given(points=fronts(), shift=st.floats(-2, 3))
def test_hypervolume_equals_inclusion_exclusion(points, shift):
    reference = np.full(points.shape[1], shift)
    expected = volume_by_inclusion_exclusion(points, reference)
    assert quiet_hypervolume(points, reference) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("objectives", [3, 5, 7])
def test_hypervolume_agrees_with_sampling_the_box(objectives):
    rng = np.random.default_rng(objectives)
    points = rng.random((25, objectives))
    samples = rng.random((200_000, objectives))
    dominated = np.zeros(len(samples), bool)
    for point in points:
        dominated |= (samples <= point).all(1)
    share = dominated.mean()
    error = math.sqrt(share * (1 - share) / len(samples))
    assert abs(indicators.hypervolume(points, np.zeros(objectives)) - share) < 5 * error


@relaxed
@given(data=st.data(), points=fronts())
def test_hypervolume_laws(data, points):
    objectives = points.shape[1]
    reference = np.full(objectives, -1.0)
    volume = indicators.hypervolume(points, reference)
    order = data.draw(st.permutations(range(len(points))))
    assert indicators.hypervolume(np.vstack([points, points])[order], reference) == pytest.approx(volume, rel=1e-12)
    extra = data.draw(npst.arrays(np.float64, (1, objectives), elements=coordinates))
    grown = indicators.hypervolume(np.vstack([points, extra]), reference)
    assert grown >= volume * (1 - 1e-12)
    if not weakly_dominates(points, extra):
        assert grown > volume
    scale = data.draw(npst.arrays(np.float64, objectives, elements=st.floats(0.1, 10)))
    offset = data.draw(npst.arrays(np.float64, objectives, elements=st.floats(-10, 10)))
    moved = indicators.hypervolume(points * scale + offset, reference * scale + offset)
    assert moved == pytest.approx(volume * scale.prod(), rel=1e-9)
    assert indicators.hypervolume(points[:1], reference) == pytest.approx((points[0] + 1).prod(), rel=1e-12)


def test_hypervolume_beyond_the_time_limit_is_a_seeded_estimate():
    rng = np.random.default_rng(0)
    points = np.abs(rng.normal(size=(60, 8)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    reference = np.full(8, -0.1)
    exact = indicators.hypervolume(points, reference)
    assert exact.exact
    estimates = [indicators.hypervolume(points, reference, seed=seed, time_limit=0.01) for seed in range(5)]
    again = indicators.hypervolume(points, reference, seed=3, time_limit=0.01)
    assert again == estimates[3]
    assert (again.exact, again.seed) == (False, 3)
    assert repr(again).endswith(f"estimated from {again.samples} samples, seed=3)")
    assert len(set(estimates)) == 5
    assert np.abs(np.array(estimates) / exact - 1).max() < 0.02
    copy = pickle.loads(pickle.dumps(again))
    assert (copy, copy.exact, copy.seed, copy.samples) == (again, False, 3, again.samples)


def test_large_sets_in_many_objectives_are_estimated_and_small_ones_exact():
    rng = np.random.default_rng(0)
    points = rng.dirichlet(np.ones(9), 150)
    assert not indicators.hypervolume(points, np.full(9, -0.01)).exact
    assert indicators.hypervolume(points[:40], np.full(9, -0.01)).exact
    # Dominated points and duplicates cost nothing.
    padded = np.vstack([points[:40]] + [points[:40] - shift for shift in (0, 0.001, 0.002)])
    assert indicators.hypervolume(padded, np.full(9, -0.01)).exact
    costs = [indicators.exact_hypervolume_seconds(n, d) for d in (2, 4, 6, 9) for n in (10, 100, 1000, 10_000)]
    assert all(cost > 0 for cost in costs)
    # The published timings: 217 ms for 500 points of 6 objectives, 8.6 s for 100 points of 9 objectives.
    assert 0.1 < indicators.exact_hypervolume_seconds(500, 6) < 1
    assert 4 < indicators.exact_hypervolume_seconds(100, 9) < 40


def test_points_that_do_not_beat_the_reference_point_are_named():
    points = [[1.0, 1.0], [0.0, 5.0], [2.0, -3.0]]
    with pytest.warns(
        UserWarning, match=r"2 of 3 points .*\[0\.0, 0\.0\].*number 1 \[0\.0, 5\.0\], number 2 \[2\.0, -3"
    ):
        assert indicators.hypervolume(points, [0, 0]) == 1.0
    assert indicators.beats_reference(points, [0, 0]).tolist() == [True, False, False]
    with pytest.warns(UserWarning, match="and 15 more"):
        assert indicators.hypervolume(np.zeros((20, 2)), [0, 0]) == 0.0
    assert indicators.hypervolume(np.empty((0, 3)), [0, 0, 0]) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: indicators.hypervolume([[1, 2]], [0, 0, 0]), r"length 3 .*2 objectives"),
        (lambda: indicators.hypervolume([[1, 2]], 0), r"length 1 .*2 objectives"),
        (lambda: indicators.hypervolume([1, 2], [0, 0]), r"shape \(points, objectives\), got \(2,\)"),
        (lambda: indicators.hypervolume([[1, np.nan], [1, 2]], [0, 0]), r"finite, got number 0 \[1.0, nan\]"),
        (lambda: indicators.hypervolume([[1, 2]], [0, np.inf]), r"reference point must be finite"),
        (lambda: indicators.igd_plus([[1, 2]], [[1, 2, 3]]), r"points have 2 objectives.*front has 3"),
        (lambda: indicators.igd_plus(np.empty((0, 2)), [[1, 2]]), r"at least one point"),
        (lambda: indicators.additive_epsilon([[1, 2]], [[np.inf, 2]]), r"reference_front must be finite"),
        (lambda: indicators.expected_utility([[1, 2]], [[0.5, 0.25, 0.25]]), r"length 2.*\(1, 3\)"),
        (lambda: indicators.expected_utility([[1, 2]], [[1.5, -0.5]]), r"not be negative, got \[ 1\.5 -0\.5\]"),
        (lambda: indicators.expected_utility([[1, 2]], [0.5, 0.6]), r"sum to 1.*1\.1"),
        (lambda: indicators.expected_utility([[1, 2]], [0.5, np.nan]), r"Weights must be finite"),
        (lambda: indicators.attainment_surfaces([], [0.5]), r"At least one front"),
        (lambda: indicators.attainment_surfaces([np.ones((1, 4))], [0.5]), r"2, or all 3.*\[4\]"),
        (lambda: indicators.attainment_surfaces([[[1, 2]]], [0.0]), r"\(0, 1\], got 0\.0"),
        (lambda: indicators.simplex_lattice(2, 0), r"divisions must be at least 1, got 0"),
        (lambda: indicators.riesz_weights(0, 3), r"objectives must be at least 1, got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@relaxed
@given(points=fronts(max_points=8))
def test_non_dominated_equals_its_definition(points):
    mask = indicators.non_dominated(points)
    for i, point in enumerate(points):
        dominated = any((other >= point).all() and (other > point).any() for other in points)
        repeated = any((other == point).all() for other in points[:i])
        assert mask[i] == (not dominated and not repeated)
    assert indicators.cardinality(points) == len(np.unique(points[mask], axis=0))


@relaxed
@given(both=pairs_of_fronts())
def test_igd_plus_and_epsilon_are_zero_iff_weakly_dominating(both):
    points, reference = both
    gaps = reference[:, None] - points[None]
    distance = np.sqrt((np.maximum(gaps, 0) ** 2).sum(2)).min(1).mean()
    epsilon = gaps.max(2).min(1).max()
    assert indicators.igd_plus(points, reference) == pytest.approx(distance, abs=1e-12)
    assert indicators.additive_epsilon(points, reference) == pytest.approx(epsilon, abs=1e-12)
    dominating = weakly_dominates(points, reference)
    assert (indicators.igd_plus(points, reference) == 0) == dominating
    assert (indicators.additive_epsilon(points, reference) <= 0) == dominating
    assert indicators.points_found(points, reference, tolerance=0).all() == dominating


def test_points_found_allows_a_share_of_the_range():
    reference = np.array([[0.0, 10.0], [1.0, 5.0], [2.0, 0.0]])
    points = np.array([[0.0, 10.0], [0.999, 4.995]])
    assert indicators.points_found(points, reference, tolerance=1e-3).tolist() == [True, True, False]
    assert indicators.points_found(points, reference, tolerance=1e-4).tolist() == [True, False, False]
    assert indicators.points_found(np.empty((0, 2)), reference).tolist() == [False] * 3


@relaxed
@given(both=pairs_of_fronts(), exponent=st.integers(-9, 9))
def test_indicators_stretch_with_the_objectives(both, exponent):
    """In units `unit` times as small, every indicator is a power of `unit` times what it was, up to rounding."""
    points, reference = both
    unit = 10.0**exponent
    below, weights = np.full(points.shape[1], -1.0), indicators.simplex_lattice(points.shape[1], 4)
    measured = {
        points.shape[1]: lambda u: [indicators.hypervolume(points * u, below * u)],
        2: lambda u: [indicators.sparsity(points * u)],
        1: lambda u: [
            indicators.igd_plus(points * u, reference * u),
            indicators.additive_epsilon(points * u, reference * u),
            indicators.expected_utility(points * u, weights),
            indicators.maximum_utility_loss(points * u, reference * u),
            indicators.maximum_utility_loss(points * u, reference * u, weights),
            *np.ravel(indicators.attainment_surfaces([points * u, reference * u], [0.5]) if points.shape[1] < 4 else 0),
        ],
        0: lambda u: [
            *indicators.non_dominated(points * u),
            *indicators.points_found(points * u, reference * u),
            *indicators.crowding_distance(points * u),
        ],
    }
    for power, function in measured.items():
        np.testing.assert_allclose(np.array(function(unit)) / unit**power, function(1.0), rtol=1e-9, atol=1e-9)


def test_a_reference_of_one_point_is_found_by_what_lacks_a_share_of_its_size():
    for unit in (1e-9, 1.0, 1e9):
        found = [indicators.points_found([[2 * unit, share * unit]], [[2 * unit, unit]]) for share in (0.99991, 0.9)]
        assert np.ravel(found).tolist() == [True, False]


def test_masked_entries_are_refused():
    masked = np.ma.masked_array([[1.0, 1.0], [9.0, 9.0]], mask=[[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="points must not have masked entries, got 2 of them"):
        indicators.hypervolume(masked, [0, 0])
    with pytest.raises(ValueError, match="reference_front must not have masked entries"):
        indicators.igd_plus([[1, 1]], masked)
    with pytest.raises(ValueError, match="The reference point must not have masked entries, got 1"):
        indicators.hypervolume([[1, 1]], np.ma.masked_equal([0, -1], -1))
    with pytest.raises(ValueError, match="Weights must not have masked entries"):
        indicators.expected_utility([[1, 1]], np.ma.masked_equal([[0.5, 0.5], [0.0, 1.0]], 0.0))
    assert indicators.hypervolume(np.ma.masked_array([[1.0, 1.0]]), [0, 0]) == 1


def test_sparsity_by_hand_without_duplicates_and_dominated_points():
    points = [[0, 4], [1, 2], [3, 0], [3, 0], [0, 1]]
    # Squared gaps: 1 + 4 in the first objective, 4 + 4 in the second; three points.
    assert indicators.sparsity(points) == pytest.approx((1 + 4 + 4 + 4) / 2)
    assert indicators.sparsity([[1, 2], [1, 2]]) == 0


def test_crowding_distance_by_hand():
    points = np.array([[0.0, 10.0], [1.0, 8.0], [4.0, 6.0], [10.0, 0.0]])
    assert indicators.crowding_distance(points).tolist() == [np.inf, 0.4 + 0.4, 0.9 + 0.8, np.inf]
    assert indicators.crowding_distance([[1, 2]]).tolist() == [np.inf]
    assert indicators.crowding_distance(np.empty((0, 2))).tolist() == []


@relaxed
@given(data=st.data(), points=fronts(max_points=8))
def test_crowding_distance_belongs_to_the_point_not_to_its_place(data, points):
    points = points[indicators.non_dominated(points)]
    distances = indicators.crowding_distance(points)
    order = data.draw(st.permutations(range(len(points))))
    assert np.allclose(indicators.crowding_distance(points[order]), distances[order])
    for objective in range(points.shape[1]):
        column = points[:, objective]
        if np.ptp(column) > 0:
            assert np.isinf(distances[column == column.max()]).any()
            assert np.isinf(distances[column == column.min()]).any()


@relaxed
@given(both=pairs_of_fronts())
def test_maximum_utility_loss_bounds_every_grid_and_the_finest_comes_near(both):
    points, reference = both
    exact = indicators.maximum_utility_loss(points, reference)
    grid = indicators.simplex_lattice(points.shape[1], 12)
    losses = [max(w @ r for r in reference) - max(w @ p for p in points) for w in grid]
    assert indicators.maximum_utility_loss(points, reference, grid) == pytest.approx(max(losses), abs=1e-12)
    # Moving weights by at most 1 / 24 in each entry moves the loss by no more than this.
    reach = points.shape[1] * (np.abs(points).max() + np.abs(reference).max()) / 12
    assert max(losses) - 1e-9 <= exact <= max(losses) + reach + 1e-9
    if weakly_dominates(points, reference):
        assert exact <= 1e-9


def test_maximum_utility_loss_in_closed_form():
    # Against (1, 1), the ends (1, 0) and (0, 1) lose 1 - max(w, 1 - w), which is largest at w = 1/2.
    assert indicators.maximum_utility_loss([[1, 0], [0, 1]], [[1, 1]]) == pytest.approx(0.5)


def test_expected_utility_in_closed_form():
    # The mean of max(w, 1 - w) over w uniform on [0, 1] is 3/4; on the lattice of k (even) divisions it is above that
    # by 1 / (4 (k + 1)).
    ends = [[1, 0], [0, 1]]
    for divisions in (2, 10, 100):
        lattice = indicators.simplex_lattice(2, divisions)
        expected = 3 / 4 + 1 / (4 * (divisions + 1))
        assert indicators.expected_utility(ends, lattice) == pytest.approx(expected)
    drawn = indicators.dirichlet_weights(2, 20_000, seed=0)
    assert indicators.expected_utility(ends, drawn) == pytest.approx(0.75, abs=5 * 0.1443 / math.sqrt(20_000))


@relaxed
@given(fronts_of_runs=st.lists(fronts(max_objectives=2), min_size=1, max_size=5), level=st.floats(0.01, 1))
def test_attainment_surfaces_equal_brute_force(fronts_of_runs, level):
    (surface,) = indicators.attainment_surfaces(fronts_of_runs, [level])
    needed = math.ceil(level * len(fronts_of_runs) - 1e-9)
    everything = np.vstack(fronts_of_runs)
    grid = np.array(list(itertools.product(np.unique(everything[:, 0]), np.unique(everything[:, 1]))))
    attained = np.array([sum(weakly_dominates(front, [point]) for front in fronts_of_runs) >= needed for point in grid])
    under = np.array([weakly_dominates(surface, [point]) for point in grid])
    assert np.array_equal(attained, under)
    assert indicators.cardinality(surface) == len(surface)


def test_attainment_surfaces_of_three_objectives_and_several_levels():
    runs = [np.array([[1.0, 1, 1]]), np.array([[2.0, 2, 0]]), np.array([[0.0, 3, 3]])]
    all_runs, most, some = indicators.attainment_surfaces(runs, [1.0, 0.5, 1 / 3])
    assert all_runs.tolist() == [[0, 1, 0]]
    assert most.tolist() == [[0, 1, 1], [0, 2, 0], [1, 1, 0]]
    assert some.tolist() == [[0, 3, 3], [1, 1, 1], [2, 2, 0]]


@pytest.mark.parametrize(("objectives", "divisions"), [(1, 5), (2, 1), (2, 10), (3, 10), (4, 7), (9, 3)])
def test_simplex_lattice_is_complete(objectives, divisions):
    lattice = indicators.simplex_lattice(objectives, divisions)
    assert lattice.shape == (comb(divisions + objectives - 1, objectives - 1, exact=True), objectives)
    multiples = lattice * divisions
    assert np.abs(multiples - np.round(multiples)).max() < 1e-9
    assert len(np.unique(np.round(multiples).astype(int), axis=0)) == len(lattice)
    assert (lattice >= 0).all()
    assert np.allclose(lattice.sum(1), 1, rtol=0, atol=1e-12)


def closest_pair(weights):
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(weights, 2))


@pytest.mark.parametrize(("objectives", "divisions"), [(2, 2), (3, 1), (3, 2), (3, 3), (4, 4)])
def test_riesz_weights_find_the_lattice_where_one_has_their_number(objectives, divisions):
    lattice = indicators.simplex_lattice(objectives, divisions)
    found = indicators.riesz_weights(objectives, len(lattice), seed=0)
    assert np.abs(found[:, None] - lattice[None]).sum(2).min(0).max() < 0.01


@pytest.mark.parametrize(("objectives", "number"), [(2, 7), (3, 31), (5, 20), (9, 24)])
def test_riesz_weights_are_spread_over_the_simplex(objectives, number):
    found = indicators.riesz_weights(objectives, number, seed=1)
    assert found.shape == (number, objectives)
    assert (found >= 0).all()
    assert np.allclose(found.sum(1), 1)
    assert np.array_equal(found, indicators.riesz_weights(objectives, number, seed=1))
    assert closest_pair(found) > 3 * closest_pair(indicators.dirichlet_weights(objectives, number, seed=1))
    assert all(np.isclose(found.max(0), 1, atol=1e-3))


def test_riesz_weights_of_one_point_and_one_objective():
    assert indicators.riesz_weights(3, 1).tolist() == [[1 / 3] * 3]
    assert indicators.riesz_weights(1, 2).tolist() == [[1], [1]]


@relaxed
@given(points=fronts(min_points=2))
def test_expected_utility_grows_with_the_front(points):
    weights = indicators.dirichlet_weights(points.shape[1], 20, seed=0)
    fewer, all_of_them = (indicators.expected_utility(part, weights) for part in (points[1:], points))
    assert all_of_them >= fewer - 1e-12 * abs(fewer)  # Sums over another memory layout round differently.
    assume(not weakly_dominates(points[1:], points[:1]))
    assert indicators.maximum_utility_loss(points, points[1:]) <= 1e-9
