"""The quickstart's study of preferences: what it measures, and what its claim follows from."""

import dataclasses

import pytest

from prefront.experiments import quickstart
from prefront.experiments import quickstart_preferences as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

FEW = quickstart.STUDY.presets["smoke"].choices


def results(rows, settings=FEW):
    return Results(settings, {"rewards": Table.from_rows({"seed": 0, **row} for row in rows)})


def test_the_model_that_is_right_about_people_learns_the_better_reward(tmp_path):
    rows = study.run(FEW, 100, Job())["rewards"]
    assert [row["model"] for row in rows] == ["regret"] * 4 + ["partial_return"] * 4
    assert all(row["scaled_return"] <= 1 + 1e-9 and 0.4 < row["accuracy"] <= 1 for row in rows)
    found = results(rows)
    (claim,) = study.claims(found)
    # Four draws cannot reach p < .05 but by agreeing with each other.
    assert claim.measured > 0
    assert claim.verdict != "fails"
    assert len(study.summary(found)) == 2
    assert {path.name for path in study.CHOICES.draw(found, tmp_path)} == {
        "choices_by_regret.pdf",
        "choices_by_regret.png",
    }
    assert study.run(FEW, 100, Job())["rewards"] == rows


@pytest.mark.parametrize(("better", "verdict"), [("regret", "holds"), ("partial_return", "fails"), ("", "undecided")])
def test_the_claim_follows_from_the_table(better, verdict):
    # Small differences that take turns in sign.
    jitter = [0.001 * (draw + 1) * (-1) ** draw for draw in range(20)]
    rows = [
        {"preferences": 30, "draw": draw, "model": model, "accuracy": 0.5}
        | {"scaled_return": (0.95 if model == better else 0.5) + jitter[draw] * (model == "regret")}
        for draw in range(20)
        for model in study.MODELS
    ]
    (claim,) = study.claims(results(rows))
    assert claim.verdict == verdict
    assert claim.measured == {"regret": 100, "partial_return": -100, "": 0}[better]


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        dataclasses.replace(FEW, draws=0)
    with pytest.raises(ValueError, match=r"\(\)"):
        study.Settings(preferences=())
