"""Learners on random delivery tasks: the studies share tasks and answers, and their rows are whole and repeatable."""

import dataclasses
import importlib

import numpy as np
import pytest

from prefront.experiments import delivery_learners as shared
from prefront.runs.study import Job
from prefront.system.tables import Table

STUDIES = {
    name: importlib.import_module(f"prefront.experiments.{name}")
    for name in ("regret_preferences", "segment_length", "stochastic_tasks", "successor_feature_sets")
}
PAIRS = {"regret_preferences": 4, "segment_length": 2, "stochastic_tasks": 4, "successor_feature_sets": 3}
FIGURES = {
    "regret_preferences": {"matrix", "misspecification"},
    "segment_length": {"lengths"},
    "stochastic_tasks": {"risky"},
    "successor_feature_sets": {"features"},
}
SMOKE = shared.Settings(mdps=2, chunk=2, preferences=(3, 30), random_rewards=6, test_preferences=100)


def small(name):
    smoke = STUDIES[name].STUDY.presets["smoke"]
    return dataclasses.replace(smoke, mdps=1 if name == "stochastic_tasks" else 2, chunk=2)


@pytest.fixture(scope="module")
def found(carry_out):
    return {name: carry_out(module.STUDY, small(name)) for name, module in STUDIES.items()}


@pytest.mark.parametrize("name", STUDIES)
def test_every_pair_is_fitted_in_every_condition(found, name, tmp_path):
    settings, fits = found[name].settings, found[name]["fits"]
    conditions = len(shared.LABELS) * len(settings.lengths) * len(settings.preferences)
    assert len(fits) == settings.mdps * conditions * PAIRS[name]
    assert (fits["scaled_return"] <= 1 + 1e-9).all()
    assert ((fits["accuracy"] >= 0) & (fits["accuracy"] <= 1) | np.isnan(fits["accuracy"])).all()
    assert (found[name]["tasks"]["random_policies"] >= 1).all()
    assert len(shared.summary(found[name])) == len(shared.LABELS) * len(settings.lengths) * PAIRS[name]
    assert {path.stem for path in STUDIES[name].STUDY.draw(found[name], tmp_path)} == FIGURES[name]
    assert len({claim.sentence for claim in STUDIES[name].claims(found[name])}) >= 2


def test_studies_of_the_same_tasks_share_their_rows(found):
    """What two studies both ask has one answer: the same maps, pairs of segments and fits."""
    matrix, sets = (found[name]["fits"] for name in ("regret_preferences", "successor_feature_sets"))
    own = {"learner": "regret", "generator": "regret", "preferences": 30}
    columns = ("task", "labels", "scaled_return", "accuracy", "cross_entropy")
    assert all(
        np.array_equal(matrix.where(**own)[name], sets.where(**own)[name], equal_nan=name == "accuracy")
        for name in columns[2:]
    )
    assert (sets.where(learner="regret_coverage")["scaled_return"] <= 1 + 1e-9).all()


def test_teachers_of_both_kinds_see_the_same_pairs():
    task = shared.draw_tasks(SMOKE, 0, 0, "deterministic", False)[0]
    asked = [
        shared.ask(
            shared.make_teacher(statistic, task.true_weights, labels, task.mdp, SMOKE.gamma),
            task.mdp,
            20,
            3,
            np.random.default_rng((0, 0, 0, 3)),
        )
        for labels in shared.LABELS
        for statistic in ("deterministic_regret", "partial_return")
    ]
    for other in asked[1:]:
        assert np.array_equal(asked[0].first.states, other.first.states)
        assert np.array_equal(asked[0].second.actions, other.second.actions)


def test_the_true_optimal_policy_is_no_feature():
    from prefront.exact.mdp import optimal_successor_features

    for task in shared.draw_tasks(SMOKE, 0, 0, "deterministic", False):
        optimal = optimal_successor_features(task.mdp, task.true_weights[None], SMOKE.gamma)[0]
        assert np.abs(task.random_features - optimal).max((1, 2)).min() > 1e-6


def test_the_same_bytes_again(found):
    again = STUDIES["segment_length"].run(small("segment_length"), 0, Job(shared.Cell(0)))
    for name, rows in again.items():
        listed = [{"seed": 0, "cell": "0", **row} for row in rows]
        assert Table.from_rows(listed).to_csv() == found["segment_length"][name].to_csv()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="mdps must be at least 1, got 0"):
        shared.Settings(mdps=0)
    with pytest.raises(ValueError, match="lengths must be at least 1"):
        shared.Settings(lengths=(0, 3))
    with pytest.raises(ValueError, match="preferences must be one or more different values"):
        shared.Settings(preferences=())
