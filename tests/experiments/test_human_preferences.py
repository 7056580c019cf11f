"""The study of human preferences: what it says without data, and that simulated ones go all the way through."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from prefront.cli import main
from prefront.envs.delivery import PUBLISHED_WEIGHTS
from prefront.experiments import human_preferences as study
from prefront.experiments import human_preferences_models as models
from prefront.experiments import human_preferences_report as report
from prefront.preferences.models.base import cross_entropy
from prefront.preferences.models.partial_return import PartialReturn
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "human-delivery"


def test_without_data_it_says_where_they_come_from(tmp_path, capsys):
    assert main(["run", "human_preferences", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for fact in ("2501.06416", "NAME_segment_pairs.npy", "--data FOLDER", "(n, 2, 4, 2)"):
        assert fact in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no folder 'nowhere'"):
        study.cells(study.Settings(data="nowhere"))


@pytest.fixture(scope="module")
def rows():
    return {name: study.run(SMOKE, 0, Job(cell)) for name, cell in study.STUDY.named_cells(SMOKE).items()}


def results(rows, settings=SMOKE):
    tables = {}
    for name, found in rows.items():
        for name, listed in found.items():
            tables.setdefault(name, []).extend({"seed": 0, "cell": name, **row} for row in listed)
    return Results(settings, {name: Table.from_rows(listed) for name, listed in tables.items()})


def test_simulated_people_pass_through_the_published_format(rows, tmp_path):
    found = results(rows)
    held = found["folds"].where(reward="given", model="regret")["held_out"]
    assert held.sum() == SMOKE.simulated_preferences
    means = {name: report._weighted(found, "given", name, "cross_entropy") for name in models.GIVEN}
    # The teacher chooses by regret, so that model must do better than chance and than partial return.
    assert means["regret"] < min(means["partial_return"], np.log(2))
    assert (
        set(found["folds"].where(reward="learned")["model"]) == set(found["learning"]["model"]) == set(models.LEARNED)
    )
    assert (found["learning"]["scaled_return"] <= 1 + 1e-9).all()
    ledger = study.claims(found)
    assert all("no people" in claim.conditions and "human" not in claim.conditions for claim in ledger)
    assert not any("within 0.005" in claim.sentence for claim in ledger)
    assert {path.suffix for path in study.STUDY.draw(found, tmp_path)} == {".pdf", ".png"}
    again = study.run(SMOKE, 0, Job(study.Cell("simulated", "learning", 30)))["learning"]
    assert Table.from_rows(again).to_csv() == Table.from_rows(rows["simulated.learning.30"]["learning"]).to_csv()


def test_reference_figures_are_claims_about_people(rows):
    real = dataclasses.replace(SMOKE, data="a folder")
    made = {
        cell: {
            name: [
                {
                    **row,
                    "condition": "Privileged-Control",
                    "cross_entropy": {"regret": 0.5775, "partial_return": 0.63}.get(row["model"], 0.5),
                }
                if name == "folds"
                else {**row, "condition": "Privileged-Control"}
                for row in listed
            ]
            for name, listed in found.items()
        }
        for cell, found in rows.items()
    }
    ledger = study.claims(results(made, real))
    verdicts = {c.stated: c.verdict for c in ledger if "within" in c.sentence}
    assert verdicts == {"0.573": "holds", "0.620": "fails"}
    assert all(claim.sentence.startswith("Privileged-Control: ") for claim in ledger)
    assert all("1 of the 9 published conditions studied: Privileged-Control" in claim.conditions for claim in ledger)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three small conditions in the published format; the name of one begins another's."""
    made = tmp_path_factory.mktemp("people")
    for number, name in enumerate(("Taught", "Taught-More_full_filtered", "Untaught")):
        small = dataclasses.replace(SMOKE, simulated_preferences=40 + number)
        study._write_simulated(made, small, number, study._task())
        for part in ("X", "Y", "segment_pairs"):
            (made / f"{report.SIMULATED}_{part}.npy").rename(made / f"{name}_{part}.npy")
    return made


def test_every_condition_of_a_folder_is_studied(folder):
    settings = dataclasses.replace(SMOKE, data=str(folder), folds=2, preferences=(30, 41))
    given = [cell for cell in study.cells(settings) if cell.kind == "given"]
    assert [cell.condition for cell in given] == ["Taught", "Taught-More", "Untaught"]
    for number, cell in enumerate(given):
        rows = study.run(settings, 0, Job(cell))["folds"]
        assert {row["condition"] for row in rows} == {cell.condition}
        assert sum(row["held_out"] for row in rows if row["model"] == "regret") == 40 + number
    some = dataclasses.replace(settings, conditions=("Untaught",))
    assert {cell.condition for cell in study.cells(some)} == {"Untaught"}
    with pytest.raises(ValueError, match=r"No condition 'Untaugt' .*Untaught"):
        study.cells(dataclasses.replace(settings, conditions=("Untaugt",)))


def test_conditions_are_told_apart_and_decided_over():
    """Regret predicts better in six conditions of nine; in three people were taught the partial return."""
    names = [f"C{number}" for number in range(9)]
    folds = [
        {"seed": 0, "cell": name, "condition": name, "fold": fold, "held_out": 10, "reward": reward, "model": model}
        | {
            "cross_entropy": 0.6 + 0.001 * fold + (0.05 + 0.002 * fold) * (("regret" in model) != (number < 6)),
            "accuracy": 0.7,
        }
        for number, name in enumerate(names)
        for reward, listed in (("given", models.GIVEN), ("learned", models.LEARNED))
        for model in listed
        for fold in range(5)
    ]
    learning = [
        {"seed": 0, "cell": name, "condition": name, "preferences": size, "draw": draw, "model": model}
        | {"scaled_return": float(model != "partial_return")}
        for number, name in enumerate(names)
        for size in ((30, 300) if number else (30,))
        for model in models.LEARNED
        for draw in range(3)
    ]
    tables = {"folds": Table.from_rows(folds), "learning": Table.from_rows(learning)}
    settings = dataclasses.replace(SMOKE, data="a folder", folds=5)
    ledger = study.claims(Results(settings, tables))
    better = {c.sentence.partition(": ")[0]: c for c in ledger if "than partial return, with the true" in c.sentence}
    assert [better[name].verdict for name in names] == ["holds"] * 6 + ["fails"] * 3
    over = better["Over conditions"]
    assert (over.verdict, over.seeds) == ("undecided", 9)
    assert over.measured == pytest.approx((6 * 0.054 - 3 * 0.054) / 9)
    assert "larger in 6 of 9 conditions" in over.test
    assert over.conditions == "9 of the 9 published conditions studied: " + ", ".join(names)
    # One condition has no 300 preferences, so nothing is decided over conditions from so many.
    assert any(c.sentence.startswith("Over conditions: from 30 ") for c in ledger)
    assert not any(c.sentence.startswith("Over conditions: from 300 ") for c in ledger)
    assert set(study.summary(Results(settings, tables))["condition"]) == set(names)


def test_a_scale_given_the_truth_is_recovered_from_many_answers():
    many = dataclasses.replace(SMOKE, simulated_preferences=3000)
    mdp = study._task()
    answers = study._dataset(many, 0, mdp, "simulated")
    (model,) = models.fit_given("regret", mdp, PUBLISHED_WEIGHTS, many.gamma, [answers])
    assert model.coefficients == pytest.approx([0.3, 0.3, -0.3], abs=0.03)


@pytest.fixture(scope="module")
def task():
    return study._learners(SMOKE, 0)


def test_regret_learners_predict_the_answers_of_people_who_choose_by_regret(task):
    """Held-out answers of the simulated teacher better than chance, and better than the partial return model does."""
    many = dataclasses.replace(SMOKE, simulated_preferences=600)
    dataset = study._dataset(many, 100, study._task(), "simulated")
    kept, held = dataset[:300], dataset[300:]
    loss = {
        name: cross_entropy(models.fit_learned(name, task, [kept])[0], held)
        for name in ("partial_return", "regret_coverage", "regret_exact")
    }
    assert max(loss["regret_coverage"], loss["regret_exact"]) < min(loss["partial_return"], np.log(2)) - 0.02


def test_policies_follow_from_what_is_learned(task):
    """A reward is optimised, and a table of advantages is followed greedily."""
    from prefront.exact.mdp import expected_rewards, optimal_policy, solve
    from prefront.preferences.models.advantage import OptimalAdvantage

    rewards = expected_rewards(task.mdp, PUBLISHED_WEIGHTS)
    best = optimal_policy(solve(task.mdp, rewards, task.gamma).action_values)
    true = PartialReturn(weights=PUBLISHED_WEIGHTS)
    assert np.array_equal(models.policies(task, [true, true]), [best, best])
    table = np.random.default_rng(0).normal(size=best.shape)
    assert (models.policies(task, [OptimalAdvantage(task.mdp, table=table)])[0].argmax(1) == table.argmax(1)).all()


def test_numbers_larger_than_the_data_are_left_out(rows, tmp_path):
    more = dataclasses.replace(SMOKE, preferences=(30, 121))
    assert study.run(more, 0, Job(study.Cell("simulated", "learning", 121)))["learning"] == []
    found = results(rows, more)
    assert "% near-optimal from 121" not in study.summary(found).columns
    only = Results(more, {"folds": found["folds"]})
    assert not any("From " in claim.sentence for claim in study.claims(only))
    assert study.STUDY.draw(only, tmp_path)
    with pytest.raises(ValueError, match="120 preferences cannot be cut into 121 folds"):
        study.run(dataclasses.replace(SMOKE, folds=121), 0, Job(study.Cell("simulated", "given")))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published data are not part of the project")
def test_reference_figures_are_met_on_the_published_data():
    real = dataclasses.replace(study.STUDY.presets["paper"], data=str(PUBLISHED), random_rewards=8)
    found = results({"": study.run(real, 100, Job(study.Cell("Privileged-Control", "given")))}, real)
    for name, stated in report.REFERENCE["Privileged-Control"].items():
        assert report._weighted(found, "given", name, "cross_entropy") == pytest.approx(stated, abs=report.TOLERANCE)
    accuracies = {name: report._weighted(found, "given", name, "accuracy") for name in models.GIVEN}
    assert accuracies["regret"] > 0.7 > 0.62 > accuracies["partial_return"]


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        study.Settings(folds=1)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        study.Settings(preferences=(3, 3))
