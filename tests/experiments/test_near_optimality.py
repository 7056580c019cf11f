"""Two learners on the same tasks: pairs are paired, points count tasks, nothing is gained at the ceiling."""

import numpy as np
import pytest

from prefront.experiments.near_optimality import (
    compare,
    in_order,
    label_numbers,
    more_often,
    plot_shares,
    share_and_median,
)
from prefront.reports import plots
from prefront.system.tables import Table


def test_rows_are_paired_by_seed_and_unit_in_whatever_order_they_come():
    rows = [{"seed": seed, "draw": draw, "scaled_return": 10.0 * seed + draw} for seed in (1, 0) for draw in (2, 0, 1)]
    expected = [0.0, 1, 2, 10, 11, 12]
    for listed in (rows, rows[::-1]):
        assert in_order(Table.from_rows(listed), "draw").tolist() == expected
    assert in_order(Table.from_rows(rows), "draw", "seed").tolist() == [0, 0, 0, 1, 1, 1]


def test_points_count_tasks_and_are_what_is_tested():
    ours, theirs = np.array([0.95, 0.9, 0.5, 1.0]), np.array([0.89, 0.2, 0.7, -3.0])
    found = compare(ours, theirs)
    assert (found.estimate, found.number) == (0.75, 4)
    assert share_and_median(theirs) == "0 (0.45)"
    assert share_and_median(ours) == "75 (0.93)"
    claim = more_often(np.repeat(ours, 5), np.repeat(theirs, 5), sentence="More often.")
    assert (claim.verdict, claim.measured) == ("holds", 75.0)
    assert "75 and 0 %" in claim.quantity
    assert more_often(ours, theirs, at_least=60, sentence="By 60 points.").verdict == "undecided"
    less = more_often(np.repeat(theirs, 50), np.repeat(ours, 50), at_least=60, sentence="By 60 points.")
    assert less.verdict == "fails"


def test_two_that_are_always_near_optimal_are_at_the_ceiling():
    full = more_often(np.full(30, 0.95), np.full(30, 0.99), sentence="More often.")
    assert (full.verdict, full.tested, full.seeds) == ("at the ceiling", False, 30)


def test_shares_are_drawn_at_numbers_of_preferences():
    with plots.style():
        _, (axes,) = plots.new_figure()
        plot_shares(axes, (10, 1000), [np.array([1.0, 0.0]), np.array([0.9, 0.95])], 0, "ours")
        label_numbers(axes, (10, 1000))
        (line,) = axes.get_lines()
        assert line.get_ydata() == pytest.approx([0.5, 1.0])
        assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "1,000"]
        assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "preferences")
