"""The study of human preferences: what it says without data, and that simulated ones go all the way through."""

import dataclasses

import numpy as np
import pytest

from prefront.cli import main
from prefront.experiment import Job, Results
from prefront.experiments import human_preferences as study
from prefront.tables import Table

SMOKE = study.PRESETS["smoke"]


def test_without_data_it_says_where_they_come_from(tmp_path, capsys):
    assert main(["run", "human_preferences", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for fact in ("2501.06416", "NAME_segment_pairs.npy", "--data FOLDER", "(n, 2, 4, 2)"):
        assert fact in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no folder 'nowhere'"):
        study.parts(study.Settings(data="nowhere"))


@pytest.fixture(scope="module")
def rows():
    return {part: study.run(SMOKE, 0, Job(part)) for part in study.parts(SMOKE)}


def results(rows, settings=SMOKE):
    tables = {}
    for part, found in rows.items():
        for name, listed in found.items():
            tables.setdefault(name, []).extend({"seed": 0, "part": part, **row} for row in listed)
    return Results(settings, {name: Table.from_rows(listed) for name, listed in tables.items()})


def test_simulated_people_pass_through_the_published_format(rows, tmp_path):
    found = results(rows)
    held = found["folds"].where(reward="given", model="regret")["held_out"]
    assert held.sum() == SMOKE.simulated_preferences
    means = {name: study._weighted(found, "given", name, "cross_entropy") for name in study.GIVEN}
    # The teacher chooses by regret, so that model must do better than chance and than partial return.
    assert means["regret"] < min(means["partial_return"], np.log(2))
    assert (found["learning"]["scaled_return"] <= 1 + 1e-9).all()
    ledger = study.claims(found)
    assert all("no people" in claim.conditions and "human" not in claim.conditions for claim in ledger)
    assert not any("within 0.005" in claim.sentence for claim in ledger)
    assert {path.suffix for path in study.plot(found, tmp_path)} == {".pdf", ".png"}
    again = study.run(SMOKE, 0, Job("learning.30"))["learning"]
    assert Table.from_rows(again).to_csv() == Table.from_rows(rows["learning.30"]["learning"]).to_csv()


def test_reference_figures_are_claims_about_people(rows):
    real = dataclasses.replace(SMOKE, data="a folder")
    made = {
        part: {
            name: [
                {**row, "cross_entropy": {"regret": 0.5775, "partial_return": 0.63}.get(row["model"], 0.5)}
                if name == "folds"
                else row
                for row in listed
            ]
            for name, listed in found.items()
        }
        for part, found in rows.items()
    }
    verdicts = {c.stated: c.verdict for c in study.claims(results(made, real)) if "within" in c.sentence}
    assert verdicts == {"0.573": "holds", "0.620": "fails"}


def test_a_scale_given_the_truth_is_recovered_from_many_answers():
    many = dataclasses.replace(SMOKE, simulated_preferences=3000)
    mdp = study._task()
    dataset = study._dataset(many, 0, mdp)
    found = study._statistics(mdp, many.gamma, dataset) @ np.array([1.0, -1.0, 1.0])
    from prefront.preferences.logistic import fit_logistic

    scale = fit_logistic(found[:, None], np.asarray(dataset.labels)).weights
    assert scale == pytest.approx(0.3, abs=0.03)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        study.Settings(folds=1)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        study.Settings(preferences=(3, 3))
