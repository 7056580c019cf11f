"""The study of human preferences: what it says without data, and that simulated ones go all the way through."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from prefront.cli import main
from prefront.envs.delivery import MOVES, PUBLISHED_WEIGHTS
from prefront.experiments import human_preferences as study
from prefront.experiments import people
from prefront.preferences.models.base import cross_entropy
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
def found(carry_out):
    return carry_out(study.STUDY)


def test_simulated_people_are_predicted_by_what_they_choose_by(found, tmp_path):
    given = found["folds"].where(reward="given")
    assert given.where(model="regret")["held_out"].sum() == SMOKE.simulated_preferences
    means = {name: study.weighted(given.where(model=name), "cross_entropy") for name in study.GIVEN}
    # The teacher chooses by regret, so that model must do better than chance and than partial return.
    assert means["regret"] < min(means["partial_return"], np.log(2))
    assert set(found["folds"].where(reward="learned")["model"]) == set(people.LEARNED)
    ledger = study.claims(found)
    assert all("no people" in claim.conditions and "human" not in claim.conditions for claim in ledger)
    assert not any("within 0.005" in claim.sentence for claim in ledger)
    assert {path.suffix for path in study.STUDY.draw(found, tmp_path)} == {".pdf", ".png"}


def test_reference_figures_are_claims_about_people(found):
    made = {"regret": 0.5775, "partial_return": 0.63}
    rows = [
        {**row, "condition": "Privileged-Control", "cross_entropy": made.get(row["model"], 0.5)}
        for row in found["folds"].rows()
    ]
    real = dataclasses.replace(SMOKE, data="a folder")
    ledger = study.claims(Results(real, {"folds": Table.from_rows(rows)}))
    verdicts = {c.stated: c.verdict for c in ledger if "within" in c.sentence}
    assert verdicts == {"0.573": "holds", "0.620": "fails"}
    assert all(claim.sentence.startswith("Privileged-Control: ") for claim in ledger)
    assert all("1 of the 9 published conditions studied: Privileged-Control" in claim.conditions for claim in ledger)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three small conditions in the published format; the name of one begins another's."""
    made = tmp_path_factory.mktemp("people")
    for number, name in enumerate(("Taught", "Taught-More_full_filtered", "Untaught")):
        answers = people.load(dataclasses.replace(SMOKE, simulated_preferences=40 + number), number, "simulated")
        # The files count their second segment as ours.
        shown = (answers.second, answers.first)
        start = [np.stack(np.unravel_index(segments.start, (10, 10)), 1)[:, None] for segments in shown]
        paths = [np.concatenate([at, MOVES[one.actions]], 1) for at, one in zip(start, shown, strict=True)]
        returns = (answers.first.features() - answers.second.features()) @ PUBLISHED_WEIGHTS
        np.save(made / f"{name}_X.npy", np.stack([returns, 0 * returns, 0 * returns], 1))
        np.save(made / f"{name}_Y.npy", answers.labels)
        np.save(made / f"{name}_segment_pairs.npy", np.stack(paths, 1))
    return made


def test_every_condition_of_a_folder_is_studied(folder):
    settings = dataclasses.replace(SMOKE, data=str(folder), folds=2)
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
        for reward, listed in (("given", study.GIVEN), ("learned", people.LEARNED))
        for model in listed
        for fold in range(5)
    ]
    tables = {"folds": Table.from_rows(folds)}
    settings = dataclasses.replace(SMOKE, data="a folder", folds=5)
    ledger = study.claims(Results(settings, tables))
    better = {c.sentence.partition(": ")[0]: c for c in ledger if "than partial return, with the true" in c.sentence}
    assert [better[name].verdict for name in names] == ["holds"] * 6 + ["fails"] * 3
    over = better["Over conditions"]
    assert (over.verdict, over.seeds) == ("undecided", 9)
    assert over.measured == pytest.approx((6 * 0.054 - 3 * 0.054) / 9)
    assert "larger in 6 of 9 conditions" in over.test
    assert over.conditions == "9 of the 9 published conditions studied: " + ", ".join(names)
    assert set(study.summary(Results(settings, tables))["condition"]) == set(names)


def test_a_scale_given_the_truth_is_recovered_from_many_answers():
    many = dataclasses.replace(SMOKE, simulated_preferences=3000)
    (model,) = study.fit_given("regret", many.gamma, [people.load(many, 0, "simulated")])
    assert model.coefficients == pytest.approx([0.3, 0.3, -0.3], abs=0.03)


def test_regret_learners_predict_the_answers_of_people_who_choose_by_regret():
    """Held-out answers of the simulated teacher better than chance, and better than the partial return model does."""
    dataset = people.load(dataclasses.replace(SMOKE, simulated_preferences=600), 100, "simulated")
    task, kept, held = people.draw_task(SMOKE, 0), dataset[:300], dataset[300:]
    loss = {
        name: cross_entropy(people.fit_learned(name, task, SMOKE.gamma, [kept])[0], held)
        for name in ("partial_return", "regret_coverage", "regret_exact")
    }
    assert max(loss["regret_coverage"], loss["regret_exact"]) < min(loss["partial_return"], np.log(2)) - 0.02


def test_more_folds_than_preferences_are_refused():
    with pytest.raises(ValueError, match="120 preferences of simulated cannot be cut into folds = 121"):
        dataclasses.replace(SMOKE, folds=121).check()


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published data are not part of the project")
def test_reference_figures_are_met_on_the_published_data():
    real = dataclasses.replace(study.STUDY.presets["paper"], data=str(PUBLISHED), random_rewards=8)
    rows = study.run(real, 100, Job(study.Cell("Privileged-Control", "given")))["folds"]
    models = {name: Table.from_rows(rows).where(model=name) for name in study.GIVEN}
    for name, stated in study.REFERENCE["Privileged-Control"].items():
        assert study.weighted(models[name], "cross_entropy") == pytest.approx(stated, abs=study.TOLERANCE)
    regret, partial_return = (study.weighted(models[name], "accuracy") for name in ("regret", "partial_return"))
    assert regret > 0.7 > 0.62 > partial_return


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        study.Settings(folds=1)
