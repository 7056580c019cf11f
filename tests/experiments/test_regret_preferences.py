"""The study of regret preferences: verdicts follow from the rows."""

import pytest

from prefront.experiments import delivery_learners as delivery
from prefront.experiments import regret_preferences as study
from prefront.runs.study import Results
from prefront.system.tables import Table

PAIRS = {
    ("regret", "regret"): "own",
    ("partial_return", "partial_return"): "theirs",
    ("partial_return", "regret"): "theirs",
    ("regret", "partial_return"): "other",
}
HAND = delivery.Settings(mdps=40, preferences=(10, 100))


def ledger(own, theirs, other):
    """Claims where so large shares of 40 tasks are near-optimal, for each number of preferences."""
    share = {"own": own, "theirs": theirs, "other": other}
    listed = [
        {"seed": 0, "cell": "0", "task": task, "labels": labels, "length": 3}
        | {"preferences": size, "learner": learner, "generator": generator, "cross_entropy": 0.1}
        | {"accuracy": 0.99, "scaled_return": 0.99 if task < share[kind][i] * 40 else -task}
        for labels in delivery.LABELS
        for (learner, generator), kind in PAIRS.items()
        for i, size in enumerate(HAND.preferences)
        for task in range(40)
    ]
    tasks = [{"seed": 0, "cell": "0", "task": task} for task in range(40)]
    found = {"fits": Table.from_rows(listed), "tasks": Table.from_rows(tasks)}
    return study.claims(Results(HAND, found))


def test_verdicts_follow_from_the_rows():
    points, every, converse, *_, predicted = ledger(own=(0.8, 0.9), theirs=(0.3, 0.5), other=(0.3, 0.2))
    assert (points.verdict, every.verdict, converse.verdict) == ("holds", "holds", "fails")
    assert points.measured == pytest.approx(40.0)
    assert points.p_value < 0.01
    assert every.measured == pytest.approx(40.0)
    assert converse.measured == pytest.approx(-30.0)
    assert converse.p_value < 0.05
    assert predicted.verdict == "fails"
    assert "least scaled return -39" in predicted.test


def test_one_number_of_preferences_is_enough_to_break_a_rule():
    points, every, *_ = ledger(own=(0.1, 0.9), theirs=(0.6, 0.5), other=(0.5, 0.5))
    assert points.verdict == "holds"
    assert every.verdict == "fails"
    points, every, *_ = ledger(own=(0.8, 0.55), theirs=(0.3, 0.5), other=(0.5, 0.5))
    assert points.verdict != "holds"
    assert points.measured == pytest.approx(5.0)
    _, every, converse, *_ = ledger(own=(0.5, 0.5), theirs=(0.5, 0.5), other=(0.5, 0.5))
    assert every.verdict == converse.verdict == "undecided"
