"""The search for thresholds: claims and costs follow from hand-made tables, and a small search runs."""

import numpy as np
import pytest

from prefront.experiments import threshold_search as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]
SEEDS = 6


def results(rows):
    return Results(SMOKE, {"search": Table.from_rows(rows)})


def claim(ledger, words):
    (found,) = [one for one in ledger if words in one.sentence]
    return found


def searched(spent, gold_at_end=0.9):
    rows = []
    for seed in range(SEEDS):
        rows += [
            {
                "seed": seed,
                "cell": "",
                "strategy": "grid",
                "run": run,
                "spent": 1000 * (run + 1),
                "gold": 0.5 + run / 10,
                "test_gold": 0.5 + run / 10,
            }
            for run in range(4)
        ]
        rows += [
            {"seed": seed, "cell": "", "strategy": "nm_ppo", "run": 0, "spent": one, "gold": gold} | {"test_gold": gold}
            for one, gold in ((0, 0.0), (spent // 2, 0.75), (spent, 0.85), (2 * spent, gold_at_end))
        ]
        rows.append(
            {"seed": seed, "cell": "", "strategy": "exact", "run": 9, "spent": 0, "gold": 1.0, "test_gold": 1.0}
        )
    return rows


def test_searches_are_reported_by_gold_that_chose_nothing():
    """Where choosing gold is all luck, neither the best of the grid nor the search keeps it."""
    rows = [{**row, "test_gold": 0.6 if row["strategy"] == "grid" else 0.1} for row in searched(600)]
    costs = study.search_costs(results(rows))
    assert np.allclose(costs["grid_gold"], 0.6) and np.allclose(costs["gold"], 0.1)
    assert not costs["reached"].any()
    table = Table.from_rows([{"gold": g, "test_gold": t} for g, t in ((0, 5), (2, 1), (1, 9), (2.5, 0), (2, 8))])
    assert study.of_best_so_far(table).tolist() == [5, 1, 1, 0, 0]


def test_a_search_is_charged_all_that_it_spent():
    cheap = results(searched(600))
    costs = study.search_costs(cheap)
    assert np.allclose(costs["share"], 600 / 4000)  # 0.85 is the first gold not below the best of the grid, 0.8.
    cost = claim(study.claims(cheap), "NM-PPO reaches")
    assert (cost.verdict, cost.measured) == ("holds", pytest.approx(15))
    assert claim(study.claims(cheap), "NM-PPO ends").verdict == "holds"
    dear = results(searched(1200, 0.6))
    assert claim(study.claims(dear), "NM-PPO reaches").verdict == "fails"
    assert claim(study.claims(dear), "NM-PPO ends").verdict == "fails"
    search = Table.from_rows(searched(600)).where(strategy="nm_ppo")
    best = study.best_so_far(search, np.array([0, 299, 300, 600, 5000]))["gold"]
    assert np.allclose(best.reshape(SEEDS, -1), [0, 0, 0.75, 0.85, 0.9])


def test_a_search_that_never_gets_there_costs_the_whole_grid():
    never = [row for row in searched(600) if row["strategy"] != "nm_ppo" or row["spent"] < 600]
    costs = study.search_costs(results(never))
    assert not costs["reached"].any() and np.allclose(costs["share"], 1.0)


def test_figure_and_summary_come_from_tables_alone(tmp_path):
    found = results([{**row, "spent": row["spent"] + 256} for row in searched(600)])
    assert {path.name for path in study.STUDY.draw(found, tmp_path)} == {
        "figure_5_4_search.pdf", "figure_5_4_search.png",
    }  # fmt: skip
    assert len(study.search_costs(found)) == SEEDS


@pytest.mark.slow
def test_the_smoke_preset_searches_by_every_strategy(tmp_path):
    rows = [row for cell in study.cells(SMOKE) for row in study.run(SMOKE, 0, Job(cell, tmp_path))["search"]]
    assert {row["strategy"] for row in rows} == {"grid", "nm_ppo", "exact"}


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"grid must lie in .* got 0"):
        study.Settings(grid=0)
