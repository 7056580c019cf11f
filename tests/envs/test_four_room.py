"""Four rooms against MO-Gymnasium, transition by transition, in the published maze and in another."""

import gymnasium as gym
import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront
from prefront.envs.four_room import MAZE

SMALL = ("1_ 2", "X3X ", "_1 G")


@pytest.mark.parametrize(("maze", "actions"), [(MAZE, [0.15, 0.35, 0.35, 0.15]), (SMALL, None)])
def test_transitions_equal_mo_gymnasium(replay_finite, maze, actions):
    theirs = mo_gym.make("four-room-v0", maze=np.array([list(row) for row in maze]))
    assert replay_finite(prefront.make("FourRoom-v0", maze=maze), theirs, 5000, actions) > 15


def test_every_starting_cell_is_drawn_equally_often():
    env = gym.make("prefront/FourRoom-v0", maze=SMALL)
    rows = [env.reset(seed=seed)[0][0] for seed in range(200)]
    assert 70 < sum(row == 0 for row in rows) < 130


@pytest.mark.parametrize(
    ("maze", "words"),
    [(("_G", "X"), r"lengths \[2, 1\]"), (("_G", "4?"), r"\['4', '\?'\]"), (("__",), "goal"), (("GG_",), "one goal")],
)
def test_bad_mazes_are_named(maze, words):
    with pytest.raises(ValueError, match=words):
        prefront.make("FourRoom-v0", maze=maze)
