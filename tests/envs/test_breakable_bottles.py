"""Breakable bottles against MO-Gymnasium: equal outcomes from equal states, at the stated probabilities."""

import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs.breakable_bottles import LEFT, PICK_UP, RIGHT
from prefront.exact.tabulation import tabulate

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
    table = tabulate(prefront.make("BreakableBottles-v0", **arguments))
    tiles = 2 if not arguments else 4
    assert len(table.terminal) <= 5 * 3 * 3 * tiles**3


def test_bad_arguments_are_named():
    for wrong in ({"size": 2}, {"prob_drop": 1.5}, {"time_penalty": 1}, {"bottle_reward": 0}, {"counter_limit": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must .*got {next(iter(wrong.values()))}"):
            prefront.make("BreakableBottles-v0", **wrong)
