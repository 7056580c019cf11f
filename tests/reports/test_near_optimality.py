"""Two learners on the same tasks: pairs are paired, points count tasks, nothing is gained at the ceiling."""

import numpy as np

from prefront.reports import near_optimality as near
from prefront.system.tables import Table

OURS, THEIRS = {"learner": "ours"}, {"learner": "theirs"}


def table(ours, theirs, **more):
    listed = {"ours": ours, "theirs": theirs}
    return Table.from_rows(
        {"seed": 0, "task": task, "learner": name, "scaled_return": float(value), **more}
        for name, values in listed.items()
        for task, value in enumerate(values)
    )


def test_rows_are_paired_by_seed_and_unit_in_whatever_order_they_come():
    rows = [{"seed": seed, "draw": draw, "scaled_return": 10.0 * seed + draw} for seed in (1, 0) for draw in (2, 0, 1)]
    expected = [0.0, 1, 2, 10, 11, 12]
    for listed in (rows, rows[::-1]):
        assert near.in_order(Table.from_rows(listed), "draw").tolist() == expected
    assert near.in_order(Table.from_rows(rows), "draw", "seed").tolist() == [0, 0, 0, 1, 1, 1]


def test_points_count_tasks_and_are_what_is_tested():
    ours, theirs = np.array([0.95, 0.9, 0.5, 1.0]), np.array([0.89, 0.2, 0.7, -3.0])
    rows = table(ours, theirs)
    found = near.compare(rows, OURS, THEIRS)
    assert (found.estimate, found.number) == (0.75, 4)
    assert near.points_apart(OURS, THEIRS)(rows)[0] == 75
    assert near.share_and_median(rows.where(**THEIRS)) == "0 (0.45)"
    assert near.share_and_median(rows.where(**OURS)) == "75 (0.93)"
    assert near.near_share(rows.where(**OURS))[0] == 0.75
    many = table(np.repeat(ours, 50), np.repeat(theirs, 50))
    claim = near.more_often(many, OURS, THEIRS, sentence="More often.")
    assert (claim.verdict, claim.measured) == ("holds", 75.0)
    assert "75 and 0 %" in claim.quantity
    assert near.more_often(rows, OURS, THEIRS, at_least=60, sentence="By 60 points.").verdict == "undecided"
    assert near.more_often(many, THEIRS, OURS, at_least=60, sentence="By 60 points.").verdict == "fails"


def test_at_every_level_is_decided_by_the_least_and_leaves_out_the_full_ones():
    good, bad = [1.0] * 40, [1.0] * 10 + [0.0] * 30
    levels = {10: (good, bad), 30: (good, [1.0] * 20 + [0.0] * 20), 100: (good, good)}
    rows = Table.concatenate([table(*pair, preferences=level) for level, pair in levels.items()])
    words = {"level": "preferences", "sentence": "At every one."}
    claim = near.more_often_at_every(rows, OURS, THEIRS, **words)
    assert (claim.verdict, claim.measured) == ("holds", 50.0)
    assert "least (preferences 30)" in claim.quantity
    assert "10: +75.0, 30: +50.0; left out, because both are near-optimal in all tasks: 100" in claim.test
    full = near.more_often_at_every(rows.where(preferences=100), OURS, THEIRS, **words)
    assert (full.verdict, full.seeds) == ("at the ceiling", 40)


def test_two_that_are_always_near_optimal_are_at_the_ceiling():
    full = near.more_often(table(np.full(30, 0.95), np.full(30, 0.99)), OURS, THEIRS, sentence="More often.")
    assert (full.verdict, full.tested, full.seeds) == ("at the ceiling", False, 30)
