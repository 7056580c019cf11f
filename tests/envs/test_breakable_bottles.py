"""Breakable bottles against MO-Gymnasium: equal outcomes from equal states, at the stated probabilities."""

import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs.breakable_bottles import LEFT, PICK_UP, RIGHT
from prefront.exact.pareto_sets import pareto_front
from prefront.pareto.indicators import hypervolume, non_dominated
from prefront.pareto.weights import simplex_lattice

VARIANTS = [
    {},
    {"unbreakable_bottles": True, "prob_drop": 0.3},
    {"size": 7, "prob_drop": 0.5, "time_penalty": -2.0, "bottle_reward": 3.0},
]


def busy(rng, state):
    """Fetches and brings bottles, with enough random actions between to do everything else."""
    if rng.random() < 0.4:
        return int(rng.integers(3))
    if state.location == 0 and state.carrying < 2:
        return PICK_UP
    return RIGHT if state.carrying else LEFT


def with_flags(observation):
    return {**observation, "bottles_dropped": (np.array(observation["bottles_dropped"]) > 0).astype(np.int8)}


@pytest.mark.parametrize("arguments", VARIANTS)
def test_transitions_equal_mo_gymnasium_in_distribution(replay_finite, arguments):
    # More bottles than 33 cannot fall on one tile within 100 steps; broken ones need no counting.
    limit = 33 if "unbreakable_bottles" in arguments else 1
    ends = replay_finite(
        prefront.make("BreakableBottles-v0", **arguments, counter_limit=limit),
        mo_gym.make("breakable-bottles-v0", **arguments),
        3000,
        busy,
        with_flags,
        lambda state, theirs: np.array_equal(state.dropped, np.minimum(theirs.bottles_dropped, limit)),
    )
    assert ends > 50


@pytest.mark.parametrize("arguments", [{}, {"unbreakable_bottles": True}])
def test_states_are_finite(arguments):
    table = prefront.make("BreakableBottles-v0", **arguments).table()
    tiles = 2 if not arguments else 4
    assert len(table.terminal) <= 5 * 3 * 3 * tiles**3


def test_bringing_one_bottle_at_a_time_is_the_safe_end_of_the_coverage_set():
    points = prefront.make("BreakableBottles-v0").coverage_set(0.99)
    there_and_back = 9  # four moves there, one to pick up, four back; the second bottle takes as long again
    time = -(1 - 0.99 ** (2 * there_and_back)) / 0.01
    bottles = 25 * (0.99 ** (there_and_back - 1) + 0.99 ** (2 * there_and_back - 1))
    assert np.isclose(points, [time, bottles, 0.0], atol=1e-6).all(axis=1).any()


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.9, 0.5])
def test_known_points_are_extreme_and_none_is_dominated(gamma):
    env = prefront.make("BreakableBottles-v0")
    front = env.pareto_front(gamma)
    assert np.array_equal(front, env.coverage_set(gamma))
    assert env.front_kind == "best known"
    assert env.max_hypervolume(gamma) > 0
    if gamma == 1.0:
        # There and back twice with one bottle each; or with both: three tiles, each without a loss 9 times of 10.
        np.testing.assert_allclose(front, pareto_front(env.table(), 1.0), atol=1e-9)
        np.testing.assert_allclose(front[:, 1:], [[50, 0], [50, -(1 - 0.9**3)]], atol=1e-9)


def test_counting_further_changes_no_answer():
    few, more = (
        prefront.make("BreakableBottles-v0", unbreakable_bottles=True, counter_limit=limit).coverage_set(0.99)
        for limit in (2, 3)
    )
    np.testing.assert_allclose(few, more, atol=1e-6)


def test_bad_arguments_are_named():
    for wrong in ({"size": 2}, {"prob_drop": 1.5}, {"time_penalty": 1}, {"bottle_reward": 0}, {"counter_limit": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must .*got {next(iter(wrong.values()))}"):
            prefront.make("BreakableBottles-v0", **wrong)


@pytest.mark.parametrize("gamma", [0.99, 0.95, 0.9])
def test_no_policy_has_much_more_hypervolume_than_the_best_known_front(gamma):
    environment = prefront.make("BreakableBottles-v0")
    front = environment.pareto_front(gamma)
    # Nothing lies beyond the hull of a coverage set; a fine lattice of mixtures fills it.
    hull = simplex_lattice(len(front), 40) @ front
    bound = hypervolume(hull[non_dominated(hull)], environment.reference_point)
    assert environment.max_hypervolume(gamma) < bound < 1.012 * environment.max_hypervolume(gamma)
