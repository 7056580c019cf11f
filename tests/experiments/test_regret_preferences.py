"""The study of regret preferences: tasks are shared, rows are whole and repeatable, verdicts follow from the rows."""

import dataclasses

import numpy as np
import pytest

from prefront.experiments import regret_preferences as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = dataclasses.replace(study.STUDY.presets["smoke"], mdps=2, risky_mdps=1, chunk=2)


@pytest.fixture(scope="module")
def rows():
    return {name: study.run(SMOKE, 0, Job(cell)) for name, cell in study.STUDY.named_cells(SMOKE).items()}


def results(rows, settings=SMOKE):
    tables = {}
    for name, found in rows.items():
        for name, listed in found.items():
            tables.setdefault(name, []).extend({"seed": 0, "cell": name, **row} for row in listed)
    return Results(settings, {name: Table.from_rows(listed) for name, listed in tables.items()})


def test_every_cell_is_fitted_on_the_same_tasks(rows):
    found = results(rows)
    assert study.cells(SMOKE) == [study.Cell(name, 0) for name in ("matrix", "lengths", "risky")]
    for study_name in SMOKE.studies:
        fits = found["fits"].where(study=study_name)
        lengths = SMOKE.lengths if study_name == "lengths" else (SMOKE.length,)
        cells = sum(len(SMOKE.sizes(study_name, learner)) for learner, _ in SMOKE.cells(study_name))
        assert len(fits) == SMOKE.tasks(study_name) * len(SMOKE.labels) * len(lengths) * cells
    assert (found["fits"]["scaled_return"] <= 1 + 1e-9).all()
    accuracy = found["fits"]["accuracy"]
    assert ((accuracy >= 0) & (accuracy <= 1) | np.isnan(accuracy)).all()
    assert (found["tasks"]["random_policies"] >= 1).all()


def test_teachers_of_both_kinds_see_the_same_pairs():
    task = study._tasks(SMOKE, 0, 0, "matrix")[0]
    asked = [
        study._ask(SMOKE, "matrix", labels, generator, task, 3, 20, (0, 0, 0))[0]
        for labels in ("noiseless", "stochastic")
        for generator in ("regret", "partial_return")
    ]
    for other in asked[1:]:
        assert np.array_equal(asked[0].first.states, other.first.states)
        assert np.array_equal(asked[0].second.actions, other.second.actions)


def test_the_true_optimal_policy_is_no_feature():
    from prefront.exact.mdp import optimal_successor_features

    for task in study._tasks(SMOKE, 0, 0, "matrix"):
        optimal = optimal_successor_features(task.mdp, task.truth[None], SMOKE.gamma)[0]
        assert np.abs(task.random_features - optimal).max((1, 2)).min() > 1e-6


def test_the_same_bytes_again_and_all_figures(rows, tmp_path):
    again = study.run(SMOKE, 0, Job(study.Cell("lengths", 0)))
    for name, listed in again.items():
        assert Table.from_rows(listed).to_csv() == Table.from_rows(rows["lengths.0"][name]).to_csv()
    found = results(rows)
    names = {path.stem for path in study.STUDY.draw(found, tmp_path)}
    assert names == {"matrix", "features", "misspecification", "lengths", "risky"}
    table = study.summary(found)
    assert "regret, coverage set" in table["learner"]
    assert len(study.claims(found)) > 10


PAIRS = {
    ("regret", "regret"): "own",
    ("partial_return", "partial_return"): "theirs",
    ("partial_return", "regret"): "theirs",
    ("regret", "partial_return"): "other",
}
HAND = study.Settings(
    studies=("matrix",), mdps=40, labels=("noiseless",), preferences=(10, 100), learners=("partial_return", "regret")
)


def ledger(own, theirs, other):
    """Claims where so large shares of 40 tasks are near-optimal, for each number of preferences."""
    share = {"own": own, "theirs": theirs, "other": other}
    listed = [
        {"seed": 0, "cell": "matrix.0", "study": "matrix", "task": task, "labels": "noiseless", "length": 3}
        | {"preferences": size, "learner": learner, "generator": generator, "cross_entropy": 0.1}
        | {"accuracy": 0.99, "scaled_return": 0.99 if task < share[kind][i] * 40 else -task}
        for (learner, generator), kind in PAIRS.items()
        for i, size in enumerate(HAND.preferences)
        for task in range(40)
    ]
    tasks = [{"seed": 0, "cell": "matrix.0", "study": "matrix", "task": task} for task in range(40)]
    found = {"fits": Table.from_rows(listed), "tasks": Table.from_rows(tasks)}
    return study.claims(Results(HAND, found))


def test_verdicts_follow_from_the_rows():
    points, every, converse, _, predicted = ledger(own=(0.8, 0.9), theirs=(0.3, 0.5), other=(0.3, 0.2))
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


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="mdps must be at least 1, got 0"):
        study.Settings(mdps=0)
    with pytest.raises(ValueError, match="lengths must be at least 1"):
        study.Settings(lengths=(0, 3))
    with pytest.raises(ValueError, match="labels must be one or more different values"):
        study.Settings(labels=())
