"""The study of reward shaping: drops are measured from the peak so far, and claims follow from hand-made tables."""

import dataclasses

import numpy as np
import pytest

from prefront.experiment import Job, Results
from prefront.experiments import reward_shaping as study
from prefront.tables import Table

SETTINGS = dataclasses.replace(
    study.PRESETS["smoke"], methods=("raw", "preference_as_reward", "clip", "xi_ppo"), budgets=(1, 2, 4), kl_sweep=()
)
SEEDS = 6


def results(ends):
    """Gold of each method: 1 at the budget, then linearly to the given end at four times the budget."""
    rows = []
    for method, end in ends.items():
        for seed in range(SEEDS):
            for iteration in range(0, 161, 4):
                gold = np.interp(iteration, [0, 40, 160], [0, 1, end]) + 0.01 * seed
                rows.append(
                    {"seed": seed, "part": method, "method": method, "kl_coefficient": 0.05, "iteration": iteration}
                    | {"sequences": 128 * iteration, "gold": gold, "kl": iteration / 10}
                )
    return Results(dataclasses.replace(SETTINGS, methods=tuple(ends)), {"curves": Table.from_rows(rows)})


def test_drops_are_measured_from_the_peak_so_far():
    found = study.drops(results({"raw": -1.0}), "raw")
    assert len(found) == SEEDS
    late = np.mean([np.interp(i, [40, 160], [1, -1]) for i in range(148, 161, 4)])
    assert np.allclose(found["drop_4"], 1 - late)
    assert np.allclose(found["drop_1"], 0, atol=0.11)
    assert np.allclose(np.diff(found["gold_4"]), 0.01)


def test_claims_are_paired_by_seed():
    ledger = study.claims(results({"raw": -1.0, "preference_as_reward": 0.5, "clip": 0.8, "xi_ppo": 1.0}))
    by_sentence = {claim.sentence: claim for claim in ledger}
    less = by_sentence["PAR: gold drops less from its peak than with raw rewards, at 4 times the budget."]
    assert less.verdict == "holds"
    assert less.measured > 1
    assert less.p_value == pytest.approx(2 / 2**SEEDS)  # As many signs: all differences are equal.
    assert by_sentence["PAR has more gold than clip at 2 times the budget."].verdict == "fails"
    assert by_sentence["ξ-PPO has more gold than PAR at 4 times the budget."].verdict == "holds"
    assert not any("ensemble" in sentence for sentence in by_sentence)


def test_figures_and_summary_come_from_tables_alone(tmp_path):
    made = results({"raw": -1.0, "preference_as_reward": 0.5})
    paths = study.plot(made, tmp_path)
    assert {path.suffix for path in paths} == {".pdf", ".png"}
    table = study.summary(made)
    assert table["method"].tolist() == ["raw rewards", "PAR"]
    assert table["drop, 4x"][0] > table["drop, 4x"][1]


def test_shaped_rewards_are_learned_from(tmp_path):
    smoke = study.PRESETS["smoke"]
    rows = Table.from_rows(study.run(smoke, 0, Job("preference_as_reward", tmp_path))["curves"])
    assert rows["iteration"].max() == 2 * smoke.learner.iterations
    assert rows["kl"][-1] > 1
    assert rows["proxy"][-1] > rows["proxy"][0] + 0.5
    again = Table.from_rows(study.run(smoke, 0, Job("preference_as_reward", tmp_path))["curves"])
    assert again.to_csv() == rows.to_csv()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="Did you mean worst_case"):
        study.Settings(methods=("worst_cas",))
    with pytest.raises(ValueError, match="budgets"):
        study.Settings(budgets=(2, 1))
    with pytest.raises(ValueError, match="KL coefficients"):
        study.Settings(kl_coefficient=-0.1)
