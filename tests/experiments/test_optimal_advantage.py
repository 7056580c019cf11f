"""The study of the optimal advantage: its segments, its rows, and verdicts that follow from shares."""

import dataclasses

import numpy as np
import pytest

from prefront.experiments import optimal_advantage as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]


def test_full_segments_never_pass_through_an_end():
    import jax

    from prefront.envs.random_delivery import RandomDelivery, generate
    from prefront.exact.tables import unstack

    params, _ = generate(jax.random.key(0), 2)
    for mdp in unstack(RandomDelivery().table(params)):
        segments = study._full_segments(mdp, 200, 3, np.random.default_rng(0))
        assert len(segments) == 200
        assert (segments.lengths == 3).all()
        assert not mdp.terminal[segments.states[:, :-1]].any()


def test_smoke_preset_runs_and_repeats_itself(carry_out, tmp_path):
    results = carry_out(study.STUDY)
    kinds = len(study.LABELS) * len(study.ABSORBING) * len(study.USES)
    assert len(results["fits"]) == SMOKE.tasks * kinds
    assert (results["fits"]["scaled_return"] <= 1 + 1e-9).all()
    name, cell = next(iter(study.STUDY.named_cells(SMOKE).items()))
    again = [{"seed": 0, "cell": name, **row} for row in study.run(SMOKE, 0, Job(cell))["fits"]]
    assert Table.from_rows(again).to_csv() == results["fits"].where(cell=name).to_csv()
    assert len(study.claims(results)) == 4 * len(study.LABELS) + 1
    assert len(study.summary(results)) == kinds
    assert {path.suffix for path in study.STUDY.draw(results, tmp_path)} == {".pdf", ".png"}


def table(greedy, with_, without, tasks=60):
    """Rows in which so large shares of tasks are near-optimal."""
    shares = {("with", "greedy"): greedy, ("without", "greedy"): 1.0}
    shares |= {("with", "reward"): with_, ("without", "reward"): without}
    listed = [
        {"seed": 0, "cell": "", "labels": "noiseless", "absorbing": absorbing, "use": use, "task": task}
        | {"preferences": 100, "scaled_return": 1.0 if task < share * tasks else -1.0, "largest": 0.5}
        for (absorbing, use), share in shares.items()
        for task in range(tasks)
    ]
    return Results(dataclasses.replace(SMOKE, tasks=tasks), {"fits": Table.from_rows(listed)})


def test_verdicts_follow_from_shares():
    greedy, with_, without, effect = study.claims(table(greedy=1.0, with_=0.95, without=0.2))
    # 60 of 60 leave a share below 95 % possible.
    assert (greedy.verdict, greedy.measured) == ("undecided", 100.0)
    assert (with_.verdict, without.verdict, effect.verdict) == ("holds", "holds", "holds")
    assert effect.measured == pytest.approx(75.0)
    greedy, with_, without, effect = study.claims(table(greedy=0.5, with_=0.2, without=0.9))
    assert {greedy.verdict, with_.verdict, without.verdict, effect.verdict} == {"fails"}


def test_strict_answers_are_compared_with_ties_on_the_same_tasks():
    ours = table(greedy=1.0, with_=0.9, without=0.2)
    listed = [dict(row) for row in ours["fits"].rows()]
    strict = [{**row, "labels": "strict", "scaled_return": -1.0 if row["task"] >= 30 else 1.0} for row in listed]
    *_, last = study.claims(Results(ours.settings, {"fits": Table.from_rows(listed + strict)}))
    assert "nearly so" in last.sentence
    assert (last.verdict, last.measured) == ("holds", pytest.approx(40.0))


def test_a_person_answers_close_regrets_by_ties():
    import jax

    from prefront.envs.random_delivery import RandomDelivery, generate
    from prefront.exact.tables import unstack
    from prefront.preferences.choice import Choice, Linear
    from prefront.preferences.segment_scores import segment_margin
    from prefront.preferences.segments import sample_segments
    from prefront.preferences.teachers import Teacher

    params, truths = generate(jax.random.key(103), 4)
    for mdp, truth in zip(unstack(RandomDelivery().table(params)), truths, strict=True):
        rng = np.random.default_rng(0)
        pair = [sample_segments(mdp, 500, 3, rng, absorbing=True) for _ in range(2)]
        margin = segment_margin("optimal_advantage", Linear(truth), mdp=mdp)
        choices = Choice(equal_within=SMOKE.indifference), Choice()
        ties, strict = (Teacher(margin, choice).ask(*pair, np.random.default_rng(1)).labels for choice in choices)
        assert (ties == 0.5).sum() > (strict == 0.5).sum()
        assert np.array_equal(ties[ties != 0.5], strict[ties != 0.5])


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="got 0"):
        study.Settings(tasks=0)
    with pytest.raises(ValueError, match="different values"):
        study.Settings(preferences=(3, 3))
    with pytest.raises(ValueError, match="tolerance must be at least 0, got -1"):
        study.Settings(tolerance=-1)
