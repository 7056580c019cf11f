"""The studies of identifiability: segments are complete, likelihoods exactly equal, and claims follow from tables."""

import dataclasses

import numpy as np
import pytest

from prefront.exact.tables import TabularMDP
from prefront.experiments import identifiability as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]


def corridor():
    """States 0, 1 and the end 2; one action moves on, from state 0 with a second outcome that stays."""
    successors = np.array([[[1, 0]], [[2, 2]], [[2, 2]]])
    probabilities = np.array([[[0.5, 0.5]], [[1.0, 0.0]], [[1.0, 0.0]]])
    features = np.arange(6.0).reshape(3, 1, 2, 1)
    return TabularMDP(successors, probabilities, features, np.array([False, False, True]), np.array([0.5, 0.5, 0.0]))


def test_every_segment_that_can_happen_is_listed_once():
    segments = study._every_segment(corridor(), 2)
    paths = {tuple(states[: length + 1]) for states, length in zip(segments.states, segments.lengths, strict=True)}
    assert paths == {(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2)}
    assert len(segments) == 4
    assert sorted(segments.features()[:, 0].tolist()) == [1.0, 2.0, 2.0, 2.0]
    assert segments.ended.tolist() == [path[-1] == 2 for path in segments.states.tolist()]


@pytest.fixture(scope="module")
def rows():
    return {name: study.run(SMOKE, 0, Job(cell))["twins"] for name, cell in study.STUDY.named_cells(SMOKE).items()}


def results(rows):
    listed = [{"seed": 0, "cell": name, **row} for name, found in rows.items() for row in found]
    return Results(SMOKE, {"twins": Table.from_rows(listed)})


def test_partial_return_is_exactly_blind_and_regret_is_not(rows):
    for name, found in rows.items():
        assert len(found) == SMOKE.tasks
        for row in found:
            assert row["partial_return_difference"] == 0.0, name
            assert row["partial_return_pairs"] > 0
            assert row["scaled_return"] <= 1 + 1e-9
            # The same optimal actions in every state earn all there is.
            assert row["other_actions"] > 0 or row["scaled_return"] == pytest.approx(1.0)
            assert row["regret_told"] > 0 or row["other_actions"] == 0
    ledger = study.claims(results(rows))
    assert len(ledger) == 9
    assert all(claim.verdict == "holds" for claim in ledger[::3])


def test_noise_gives_the_prize_away():
    """What makes the lottery blind is the missing noise: with it, partial return tells the prizes apart."""
    twin = next(study._twins(SMOKE, 0, "lottery"))
    # Prizes near the goal's 50, where choices are not yet certain.
    near = dataclasses.replace(twin, weights=tuple(study._with_prize(twin.weights[0], prize) for prize in (53.0, 56.0)))
    assert study._compare(near, 50, np.random.default_rng(0))["partial_return_difference"] == 0.0
    noisy = study._compare(dataclasses.replace(near, noiseless=False), 50, np.random.default_rng(0))
    assert noisy["partial_return_difference"] > 0.01


def test_claims_fail_where_a_difference_is_seen(rows):
    seen = {name: [{**row, "partial_return_difference": 1e-9} for row in found] for name, found in rows.items()}
    same = {name: [{**row, "other_actions": 0.0} for row in found] for name, found in rows.items()}
    assert {claim.verdict for claim in study.claims(results(seen))[::3]} == {"fails"}
    blind, matters, told = study.claims(results(same))[:3]
    assert (blind.verdict, matters.verdict, told.verdict) == ("holds", "fails", "undecided")


def test_the_same_bytes_again_and_a_figure(rows, tmp_path):
    again = study.run(SMOKE, 0, Job(study.Cell("discount")))["twins"]
    assert Table.from_rows(again).to_csv() == Table.from_rows(rows["discount"]).to_csv()
    paths = study.STUDY.draw(results(rows), tmp_path)
    assert {path.suffix for path in paths} == {".pdf", ".png"}
    assert len(study.summary(results(rows))) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [({"tasks": 0}, "got 0"), ({"other_gamma": 1.0}, "got 1.0"), ({"prizes": (50.0, 100.0)}, "above 52")],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **change)
