"""The study of rewards that are learned from few human preferences: exact returns, and sizes that the data have."""

import dataclasses

import numpy as np
import pytest

from prefront.envs.delivery import PUBLISHED_WEIGHTS
from prefront.experiments import learning_from_people as study
from prefront.experiments import people
from prefront.preferences.models.partial_return import PartialReturn
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]


def test_every_model_learns_from_every_draw(carry_out, tmp_path):
    found = carry_out(study.STUDY)
    rows = found["learning"]
    assert set(rows["model"]) == set(people.LEARNED)
    assert len(rows) == SMOKE.draws * len(people.LEARNED)
    assert (rows["scaled_return"] <= 1 + 1e-9).all()
    ledger = study.claims(found)
    assert [claim.sentence.partition(",")[0] for claim in ledger] == ["From 30 preferences"] * 3
    assert all("120 preferences of a simulated teacher by regret (no people)" in claim.conditions for claim in ledger)
    assert "% near-optimal from 30" in study.summary(found).columns
    assert {path.suffix for path in study.STUDY.draw(found, tmp_path)} == {".pdf", ".png"}
    again = [
        {"seed": 0, "cell": "simulated.30", **row}
        for row in study.run(SMOKE, 0, Job(study.Cell("simulated", 30)))["learning"]
    ]
    assert Table.from_rows(again).to_csv() == rows.to_csv()


def test_numbers_larger_than_the_data_are_left_out():
    more = dataclasses.replace(SMOKE, preferences=(30, 121))
    more.check()
    assert study.run(more, 0, Job(study.Cell("simulated", 121)))["learning"] == []
    with pytest.raises(ValueError, match="preferences must hold a number up to 120, those of simulated"):
        dataclasses.replace(SMOKE, preferences=(121,)).check()


def test_conditions_are_decided_over_where_all_have_so_many_preferences():
    names = [f"C{number}" for number in range(9)]
    rows = [
        {"seed": 0, "cell": name, "condition": name, "preferences": size, "available": 400, "draw": draw}
        | {"model": model, "scaled_return": float(model != "partial_return")}
        for number, name in enumerate(names)
        for size in ((30, 300) if number else (30,))
        for model in people.LEARNED
        for draw in range(3)
    ]
    found = Results(dataclasses.replace(SMOKE, data="a folder"), {"learning": Table.from_rows(rows)})
    ledger = study.claims(found)
    over = [claim for claim in ledger if claim.sentence.startswith("Over conditions: ")]
    assert [claim.sentence[17:40] for claim in over] == ["from 30 preferences, the"[:23]] * 3
    assert all((claim.verdict, claim.seeds, claim.measured) == ("holds", 9, 100.0) for claim in over)
    assert over[0].conditions == "9 of the 9 published conditions studied: " + ", ".join(names)
    assert "larger in 9 of 9 conditions" in over[0].test
    assert sum(claim.sentence.startswith("C1: From 300 ") for claim in ledger) == 3
    assert not any(claim.sentence.startswith("C0: From 300 ") for claim in ledger)


def test_policies_follow_from_what_is_learned():
    """A reward is optimised, and a table of advantages is followed greedily."""
    from prefront.exact.mdp import expected_rewards, optimal_policy, solve
    from prefront.preferences.models.advantage import OptimalAdvantage

    task = people.draw_task(SMOKE, 0)
    rewards = expected_rewards(task.mdp, PUBLISHED_WEIGHTS)
    best = optimal_policy(solve(task.mdp, rewards, SMOKE.gamma).action_values)
    true = PartialReturn(weights=PUBLISHED_WEIGHTS)
    assert np.array_equal(study.policies(task, SMOKE.gamma, [true, true]), [best, best])
    table = np.random.default_rng(0).normal(size=best.shape)
    assert (
        study.policies(task, SMOKE.gamma, [OptimalAdvantage(task.mdp, table=table)])[0].argmax(1) == table.argmax(1)
    ).all()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        study.Settings(preferences=(3, 3))
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        study.Settings(draws=0)
