"""The study of reward shaping: drops are measured from the peak so far, and claims follow from hand-made tables."""

import dataclasses

import numpy as np
import pytest

from prefront.exact import kl_constrained
from prefront.experiments import reward_shaping as study
from prefront.experiments.token_worlds import made_world
from prefront.runs.study import Job, Results
from prefront.system.tables import Table
from prefront.tasks.generation import known_answer

SMOKE = study.STUDY.presets["smoke"]
SETTINGS = dataclasses.replace(
    SMOKE,
    methods=("raw", "preference_as_reward", "clip", "xi_ppo"),
    budgets=(1, 2, 4),
    kl_sweep=(),
)
KNOWLEDGE = {"xi_ppo": "gold"}
SEEDS = 6


def results(ends):
    """Gold of each method: 1 at the budget, then linearly to the given end at four times the budget.

    A method's name may go on with what it knows of gold, after a point.
    """
    rows = []
    for name, end in ends.items():
        method, _, knowledge = name.partition(".")
        knowledge = knowledge or KNOWLEDGE.get(method, "untuned")
        for seed in range(SEEDS):
            for iteration in range(0, 161, 4):
                gold = np.interp(iteration, [0, 40, 160], [0, 1, end]) + 0.01 * seed
                rows.append(
                    {"seed": seed, "cell": name, "method": method, "knowledge": knowledge, "kl_coefficient": 0.05}
                    | {"iteration": iteration, "sequences": 128 * iteration, "kl": iteration / 10}
                    | {"gold": gold, "test_gold": gold}
                )
    informed = tuple({name.partition(".")[0] for name in ends if "." in name})
    methods = tuple(dict.fromkeys(name.partition(".")[0] for name in ends))
    return Results(dataclasses.replace(SETTINGS, methods=methods, informed=informed), {"curves": Table.from_rows(rows)})


def test_drops_are_measured_from_the_peak_so_far():
    found = study.endings(results({"raw": -1.0}))["raw rewards"]
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
    assert "tuned for neither side" in less.conditions
    assert not any("ensemble" in sentence or "ξ-PPO" in sentence for sentence in by_sentence)


def test_constraints_are_compared_with_rivals_that_know_as_much():
    par = {"preference_as_reward": -1.0, "preference_as_reward.gold": 0.5, "preference_as_reward.oracle": 1.0}
    ledger = study.claims(results({**par, "xi_ppo": 1.0}))
    by_gold, by_oracle = [claim for claim in ledger if "ξ-PPO" in claim.sentence]
    assert by_gold.sentence == (
        "ξ-PPO, thresholds chosen by gold, has more gold than PAR, KL coefficient chosen by gold, "
        "at 4 times the budget."
    )
    assert (by_gold.verdict, by_gold.measured) == ("holds", pytest.approx(0.5, abs=0.05))
    assert "PAR, at the KL of the exact constrained optimum" in by_oracle.sentence
    assert by_oracle.verdict == "fails"
    assert all("both sides know gold of the same world" in one.conditions for one in (by_gold, by_oracle))


def test_a_lucky_peak_is_measured_on_other_sequences():
    made = results({"raw": 1.0})
    lucky = [{**row, "gold": row["gold"] + 5.0 * (row["iteration"] == 80)} for row in made["curves"].rows()]
    found = study.endings(Results(made.settings, {"curves": Table.from_rows(lucky)}))["raw rewards"]
    assert np.allclose(found["drop_4"], 0.0)


def test_gold_chooses_the_coefficient_and_the_run_is_trained_anew(tmp_path):
    """The chosen one has the most gold, the reported run has another key, and the oracle's KL is the optimum's."""
    smoke = dataclasses.replace(SMOKE, gold_coefficients=(0.02, 8.0))
    tables = study.run(smoke, 100, Job(study.Cell("preference_as_reward", "gold"), tmp_path))
    choices, curves = Table.from_rows(tables["choices"]), Table.from_rows(tables["curves"])
    assert choices["kl_coefficient"].tolist() == [0.02, 8.0]
    assert choices["gold"][0] > choices["gold"][1] + 0.2
    assert set(curves["kl_coefficient"]) == {0.02} and set(curves["knowledge"]) == {"gold"}
    late = curves.at(curves["iteration"] > 0.9 * 80)
    assert late["gold"].mean() != choices["gold"][0]
    assert late["test_gold"].mean() == pytest.approx(choices["gold"][0], abs=0.5)
    theta = np.array(study.thresholds(smoke, 100))
    task = made_world(smoke.world, 100)
    solved = kl_constrained.solve_equalities(task.reference, known_answer(task), theta, task.length)
    aimed = Table.from_rows(
        study.run(smoke, 100, Job(study.Cell("preference_as_reward", "oracle"), tmp_path))["curves"]
    )
    assert set(aimed["kl_target"]) == {float(solved.divergence)}


def test_figures_and_summary_come_from_tables_alone(tmp_path):
    made = results({"raw": -1.0, "preference_as_reward": 0.5})
    paths = study.STUDY.draw(made, tmp_path)
    assert {path.suffix for path in paths} == {".pdf", ".png"}
    table = study.summary(made)
    assert table["method"].tolist() == ["raw rewards", "PAR"]
    assert table["drop, 4x"][0] > table["drop, 4x"][1]


def test_shaped_rewards_are_learned_from(tmp_path):
    rows = Table.from_rows(study.run(SMOKE, 0, Job(study.Cell("preference_as_reward"), tmp_path))["curves"])
    assert rows["iteration"].max() == 2 * SMOKE.learner.iterations
    assert rows["kl"][-1] > 1
    assert rows["proxy"][-1] > rows["proxy"][0] + 0.5
    again = Table.from_rows(study.run(SMOKE, 0, Job(study.Cell("preference_as_reward"), tmp_path))["curves"])
    assert again.to_csv() == rows.to_csv()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="Did you mean worst_case"):
        study.Settings(methods=("worst_cas",))
    with pytest.raises(ValueError, match="budgets"):
        study.Settings(budgets=(2, 1))
    with pytest.raises(ValueError, match="No method with a KL coefficient 'xi_ppo'"):
        study.Settings(informed=("xi_ppo",))
    with pytest.raises(ValueError, match=r"gold_coefficients .* got \(-1.0,\)"):
        study.Settings(gold_coefficients=(-1.0,))
    with pytest.raises(ValueError, match="kl_coefficient"):
        study.Settings(kl_coefficient=-0.1)
