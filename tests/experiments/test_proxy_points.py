"""The study of proxy points: claims follow from hand-made tables, and points agree with the exact optimum."""

import dataclasses

import numpy as np
import pytest

from prefront.experiments import proxy_points as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]
SEEDS = 6


def results(independent=0.5, placed=(1.0, 0.8, 1.0, 1.2), gold=(0.0, 1.0, 0.2)):
    curves = [
        {"seed": seed, "cell": "", "method": method, "focus": focus, "kl": float(i), "gold": value}
        | {"reward_1": float(i), "reward_2": float(i), "proxy": 2.0 * i}
        for seed in range(SEEDS)
        for focus in study.DIRECTIONS
        for method in ("exact", "ppo_annealed_kl")
        for i, value in enumerate(gold)
    ]
    thresholds = {"joint": 1.0, "lower": 0.9, "higher": 1.1, "independent": independent}
    points = [
        {"seed": seed, "cell": "", "place": place, "gold": 1.0, "kl": 2.0}
        | {"threshold_1": theta + 0.01 * seed, "threshold_2": theta + 0.01 * seed}
        for seed in range(SEEDS)
        for place, theta in thresholds.items()
    ]
    learned = [
        {"seed": seed, "cell": "", "place": place, "iteration": iteration, "sequences": 128 * iteration}
        | {"gold": end * min(iteration / 40, 1) + 0.01 * seed}
        for seed in range(SEEDS)
        for place, end in zip(thresholds, placed, strict=True)
        for iteration in range(0, 81, 10)
    ]
    rows = {"curves": curves, "points": points, "placed": learned}
    return Results(SMOKE, {name: Table.from_rows(table) for name, table in rows.items()})


def claim(ledger, words):
    (found,) = [one for one in ledger if words in one.sentence]
    return found


def test_falls_are_counted_where_both_models_fall():
    falls = claim(study.claims(results()), "raises gold and then lowers it")
    assert (falls.verdict, falls.measured) == ("holds", 100.0)
    assert claim(study.claims(results(gold=(0.0, 0.5, 1.0))), "raises gold and then").measured == 0.0


def test_joint_and_independent_points_are_told_apart():
    assert claim(study.claims(results()), "joint proxy point differs").verdict == "holds"
    same = claim(study.claims(results(independent=1.0)), "joint proxy point differs")
    assert (same.verdict, same.measured) == ("undecided", pytest.approx(0))


def test_misplaced_thresholds_are_compared_with_the_joint_point():
    ledger = study.claims(results())
    lower = claim(ledger, "below the joint proxy point")
    assert (lower.verdict, lower.measured) == ("holds", pytest.approx(0.2))
    assert claim(ledger, "above the joint proxy point").verdict == "fails"
    assert claim(ledger, "models alone end with less").verdict == "fails"


def test_figures_and_summary_come_from_tables_alone(tmp_path):
    names = {path.stem for path in study.STUDY.draw(results(), tmp_path)}
    assert names == {"figure_3_1_and_3_2_proxy_points", "figure_5_3_misplaced_thresholds"}
    assert study.summary(results())["thresholds"].tolist() == ["joint", "lower", "higher", "independent"]


def test_thresholds_and_optimum_agree(tmp_path):
    tiny = dataclasses.replace(SMOKE.learner, iterations=10, sequences=16)
    found = study.run(dataclasses.replace(SMOKE, learner=tiny), 0, Job(study.Cell("rewards"), tmp_path))
    points, curves = (Table.from_rows(found[name]) for name in ("points", "curves"))
    joint = points.where(place="joint")
    assert points["threshold_1"][1] == pytest.approx(0.9 * joint["threshold_1"][0])
    assert joint["gold"][0] > 0.3
    assert joint["kl"][0] > 0.5
    assert curves.unique("focus") == list(study.DIRECTIONS)
    exact = curves.where(method="exact", focus="1")
    assert np.all(np.diff(exact["reward_1"]) > 0)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="threshold_shift"):
        study.Settings(threshold_shift=1.5)
