"""Four rooms against MO-Gymnasium, transition by transition, in the published maze and in another."""

import itertools

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


def all_walks(maze, gamma):
    """The non-dominated returns of all orders in which items can be collected, each by shortest paths."""
    cells = {(i, j): mark for i, row in enumerate(maze) for j, mark in enumerate(row) if mark != "X"}
    items = [cell for cell, mark in cells.items() if mark in "123"]
    (goal,) = (cell for cell, mark in cells.items() if mark == "G")
    (start,) = (cell for cell, mark in cells.items() if mark == "_")

    def steps(source, avoided):
        distance, waiting = {source: 0}, [source]
        for i, j in waiting:
            for after in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if after in cells and after not in avoided and after not in distance:
                    distance[after] = distance[i, j] + 1
                    if after != goal:
                        waiting.append(after)
        return distance

    returns = {(0.0, 0.0, 0.0)}
    for count in range(len(items) + 1):
        for order in itertools.permutations(items, count):
            here, time, total = start, 0, np.zeros(3)
            for number, aim in enumerate((*order, goal)):
                # On the way no item is picked up whose turn has not come.
                time += steps(here, set(items) - set(order[: number + 1])).get(aim, np.inf)
                if not np.isfinite(time):
                    break
                # The goal is worth 1 in every objective.
                total += gamma ** (time - 1) * (1 if aim == goal else np.eye(3)[int(cells[aim]) - 1])
                here = aim
                returns.add(tuple(np.round(total, 12)))
    points = np.array(sorted(returns))
    worse = [((points >= p).all(1) & (points > p).any(1)).any() for p in points]
    return points[~np.array(worse)]


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.9, 0.5])
@pytest.mark.parametrize("maze", [("1_ 2", "X3X ", " 1 G"), ("_1 2 ", " XX3 ", "3 1 G", "2X1  ")])
def test_exact_front_of_small_mazes_equals_all_walks(maze, gamma):
    front = prefront.make("FourRoom-v0", maze=maze).pareto_front(gamma)
    # Sorted without the last digits, which would otherwise order equal values.
    ours, theirs = (sorted(np.round(points, 9).tolist()) for points in (front, all_walks(maze, gamma)))
    np.testing.assert_allclose(ours, theirs, atol=2e-9)


@pytest.mark.slow
def test_exact_front_of_the_published_maze():
    environment = prefront.make("FourRoom-v0")
    assert [len(environment.pareto_front(gamma)) for gamma in (1.0, 0.99, 0.95, 0.9)] == [1, 240, 652, 1642]
    assert len(environment.coverage_set(1.0)) == 1


@pytest.mark.parametrize(
    ("maze", "words"),
    [(("_G", "X"), r"lengths \[2, 1\]"), (("_G", "4?"), r"\['4', '\?'\]"), (("__",), "goal"), (("GG_",), "one goal")],
)
def test_bad_mazes_are_named(maze, words):
    with pytest.raises(ValueError, match=words):
        prefront.make("FourRoom-v0", maze=maze)
