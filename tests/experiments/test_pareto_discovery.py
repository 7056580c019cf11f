"""The study of fronts: what it stores is consistent, and its claims follow from the tables by known statistics."""

import math

import numpy as np
import pytest

from prefront import make
from prefront.experiments import pareto_discovery as study
from prefront.pareto.indicators import hypervolume
from prefront.policies.front import Front
from prefront.policies.scores import ReferenceFront, utility_lattice
from prefront.reports.fronts import true_front
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMALL = study.Settings(environments=("DeepSeaTreasure",), budget=0.001, test_episodes=1)


def results(ours, theirs, name="DeepSeaTreasure", found=10, kind="exact", true=800.0, violations=math.nan):
    """Tables of seeds with the given hypervolumes."""
    common = {"environment": name, "id": name, "gamma": 0.99, "reference_point": "0 -50", "policies": "deterministic"}
    common |= {"environment_steps": 1000, "evaluation_steps": 10, "front_kind": kind, "true_points": 10}
    rows = [
        {"seed": seed, "cell": "", **common, "method": method, "hypervolume": volume, "share": volume / true}
        | {"points_found": found if method == "C-MORL" else 5, "finished_learners": 32}
        | {"finished_violations": np.broadcast_to(violations, 9)[seed] if method == "C-MORL" else math.nan}
        for method, volumes in (("C-MORL", ours), ("linear", theirs))
        for seed, volume in enumerate(volumes)
    ]
    return Results(study.Settings(environments=(name,)), {"metrics": Table.from_rows(rows)})


def test_claims_follow_from_paired_seeds():
    whole, more = study.claims(results([800, 799, 800, 798, 800], [400, 402, 401, 400, 397]))
    assert whole.verdict == "holds"
    assert whole.measured == 100.0
    assert "a count, no test: 5 of 5; 100 % of the 10 points" in whole.test
    assert more.verdict == "holds"
    assert "over other MORL methods" in more.stated and "of linear scalarisation it states nothing" in more.stated
    assert more.measured == pytest.approx(100 * (799.4 - 400) / 400)
    assert more.interval[0] <= more.measured <= more.interval[1]
    for fact in ("discount 0.99", "(0, -50)", "1,000 training", "deterministic"):
        assert fact in more.conditions


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([400] * 8, [400] * 8, "fails"),  # Equal is not more.
        ([400] * 5, [400] * 5, "undecided"),  # So few equal seeds do not exclude that another one is more.
        ([390, 391, 392, 393, 394], [400] * 5, "fails"),
        ([410, 390, 400, 405, 396], [400] * 5, "undecided"),
        ([0.0] * 8, [0.0] * 8, "fails"),
        ([800] * 5, [800] * 5, "at the ceiling"),  # Nothing is to be gained.
        ([5, 4, 3, 2, 1], [0.0] * 5, "holds"),
        ([800] * 3, [400] * 3, "undecided"),  # Three seeds cannot reject at 5 %.
    ],
)
def test_claims_that_do_not_hold_say_so(ours, theirs, verdict):
    whole, more = study.claims(results(ours, theirs, found=9))
    assert more.verdict == verdict
    assert whole.verdict == "fails"
    assert whole.measured == 0
    assert "90 % of the 10 points on average" in whole.test


def test_without_an_exact_front_nothing_is_called_whole():
    (more,) = study.claims(results([2, 3, 4, 5, 6], [1] * 5, kind="unknown", true=math.nan))
    assert "more hypervolume" in more.sentence
    best, _ = study.claims(results([810, 811, 812], [1] * 3, kind="best known"))
    assert "best known" in best.sentence
    assert best.verdict == "holds"
    best, _ = study.claims(results([790, 811, 812], [1] * 3, kind="best known"))
    assert best.verdict == "undecided"
    best, _ = study.claims(results([790, 791, 793], [1] * 3, kind="best known"))
    assert best.verdict == "fails"


@pytest.mark.parametrize(
    ("violations", "verdict", "share"),
    [(0.0, "holds", 100), (0.1, "holds", 100), (0.3, "fails", 0), ([0, 0.2, 0, 0.2, 0.1, 0, 0, 0, 0], "fails", 60)],
)
def test_seeds_whose_finished_learners_violate_constraints_are_counted(violations, verdict, share):
    *_, few = study.claims(results([1.0] * 5, [1.0] * 5, violations=violations))
    assert "violation of a constraint by more than 2 %" in few.sentence
    assert (few.verdict, few.seeds, few.measured) == (verdict, 5, share)
    mean = 100 * np.broadcast_to(violations, 9)[:5].mean()
    assert f"{mean:.2g} % of all 160 learners in violation" in few.test


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    heard = []
    jobs = {
        name: Job(cell, folder / name, folder / name / "checkpoint", lambda *at, **figures: heard.append((at, figures)))
        for name, cell in study.STUDY.named_cells(SMALL).items()
    }
    return folder, {name: study.run(SMALL, 0, job) for name, job in jobs.items()}, heard


def test_both_methods_take_equal_steps(found):
    _, tables, heard = found
    first, second = (tables[f"DeepSeaTreasure.{method}"]["metrics"][0] for method in ("C-MORL", "linear"))
    assert first["environment_steps"] == second["environment_steps"] > 0
    assert all(0 < done <= total and "hypervolume" in figures for (done, total), figures in heard)
    assert heard[-1][0][0] == heard[-1][0][1] == second["environment_steps"]


def test_tables_agree_with_the_saved_front(found):
    folder, tables, _ = found
    for name, stored in tables.items():
        front = Front.load(folder / name / "front")
        points = np.array([[row["return_0"], row["return_1"]] for row in stored["points"]])
        assert np.array_equal(points, front.returns)
        (row,) = stored["metrics"]
        assert row["hypervolume"] == pytest.approx(float(hypervolume(points, (0, -50))), rel=1e-12)
        assert row["share"] == pytest.approx(row["hypervolume"] / 854.8504, rel=1e-6)
        assert stored["curves"][-1]["hypervolume"] == pytest.approx(row["hypervolume"], rel=1e-6)
        assert stored["curves"][-1]["environment_steps"] == row["environment_steps"]
    exact = tables["DeepSeaTreasure.C-MORL"]["exact"]
    assert len(exact) == 10
    assert tables["DeepSeaTreasure.linear"]["exact"] == []


def test_the_true_front_is_drawn_once_whatever_the_seeds():
    rows = [
        {"seed": seed, "cell": "", "environment": "DeepSeaTreasure", "return_0": x, "return_1": -x}
        for seed in (1000, 1001)
        for x in (1.0, 2.0, 3.0)
    ]
    assert true_front({"exact": Table.from_rows(rows)}, "DeepSeaTreasure", 2).tolist() == [
        [1.0, -1.0],
        [2.0, -2.0],
        [3.0, -3.0],
    ]
    assert true_front({}, "DeepSeaTreasure", 2).size == 0


class Noisy:
    """Stands for a front whose policies all have the same returns, (0, 0), in a random environment."""

    returns = np.full((50, 2), 9.0)

    def evaluate(self, environment, episodes, seed):
        return np.random.default_rng(seed).normal(0.0, 1.0 / np.sqrt(episodes), self.returns.shape)


def test_episodes_that_choose_policies_do_not_report_them():
    """The non-dominated of equal policies are the lucky ones; their returns in other episodes have the true mean."""
    front, episodes = Noisy(), 4
    found = study._test(front, None, episodes)
    lucky = front.evaluate(None, episodes, study.TEST_SEED)
    best = lucky[np.array([not (lucky > one).all(1).any() for one in lucky])]
    assert len(found) == len(best)
    assert best.mean() > 3 * (1 / np.sqrt(episodes)) / np.sqrt(best.size)
    assert abs(found.mean()) < 3 * (1 / np.sqrt(episodes)) / np.sqrt(found.size)


def test_presets_say_whose_settings_both_methods_have():
    assert set(study.STUDY.presets) == {"smoke", "tuned", "published"}
    said = {name: study._knowledge(settings.agent_preset) for name, settings in study.STUDY.presets.items()}
    assert "as published" in said["published"] and "tuned" in said["tuned"]
    ledger = study.claims(results([800] * 5, [400] * 5))
    assert all(claim.conditions.endswith(said["tuned"]) for claim in ledger)


def test_the_truth_scores_itself_perfectly():
    truth = ReferenceFront.of(make("DeepSeaTreasure-v0"))
    row = truth.score(truth.front)
    assert (row["share"], row["points_found"], row["igd_plus"], row["additive_epsilon"]) == (1.0, 10, 0.0, 0.0)
    assert row["hypervolume"] == pytest.approx(854.8504, abs=5e-5)
    half = truth.score(truth.front[::2])
    assert half["points_found"] == half["cardinality"] == 5
    assert half["share"] < 1
    assert half["igd_plus"] > 0
    # Diving nowhere: all points lie on the reference point's edge, so nothing counts.
    assert truth.score(np.array([[0.0, -63.4]]))["points_below_reference"] == 1
    unknown = ReferenceFront(np.empty((0, 2)), "unknown", np.zeros(2), math.nan).score(np.ones((1, 2)))
    assert unknown["hypervolume"] == 1.0
    assert math.isnan(unknown["share"])


def test_utility_lattices_are_as_fine_as_allowed():
    assert [len(utility_lattice(objectives)) for objectives in (2, 3, 6, 9)] == [101, 496, 462, 495]


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="Did you mean FruitTree"):
        study.Settings(environments=("FruitTre",))
    with pytest.raises(ValueError, match="positive, got 0"):
        study.Settings(budget=0)
    with pytest.raises(ValueError, match="got -3"):
        study.Settings(test_episodes=-3)
