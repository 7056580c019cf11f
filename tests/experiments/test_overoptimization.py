"""The study of overoptimization: exact curves are what they say, and claims follow from hand-made curves."""

import dataclasses

import numpy as np
import pytest

from prefront.exact import kl_regularised
from prefront.experiments import overoptimization as study
from prefront.experiments.token_worlds import made_world
from prefront.runs.study import Job, Results
from prefront.system.tables import Table
from prefront.tasks.generation import known_answer

SMALL = dataclasses.replace(study.STUDY.presets["smoke"], points=5, samples=64, largest_n=64)
KL = np.linspace(0, 25, 26)


def results(gold_by_seed, source="exact", correlations=(0.0, 0.9), shift=0.0):
    """Curves of all sources; those of `source` follow the given functions of d = sqrt(KL) at each correlation."""
    settings = dataclasses.replace(SMALL, correlations=correlations)
    rows = []
    for seed, gold in enumerate(gold_by_seed):
        for correlation in correlations:
            for name in study.SOURCES:
                d = np.sqrt(KL) - (shift * correlation if name == source else 0)
                rows += [
                    {"seed": seed, "cell": "", "source": name, "correlation": correlation}
                    | {"kl": kl, "gold": g, "proxy": np.sqrt(kl)}
                    for kl, g in zip(KL, gold(np.maximum(d, 0)), strict=True)
                ]
    return Results(settings, {"curves": Table.from_rows(rows)})


def claim(ledger, *words):
    (found,) = [one for one in ledger if all(word in one.sentence for word in words)]
    return found


def test_a_fall_is_counted_over_seeds():
    falling = [lambda d, a=a: d * (2 - 0.5 * d) * a for a in (1, 1.1, 1.2, 0.9, 1.3, 0.95, 1.05, 1.15)]
    held = claim(study.claims(results(falling)), "exact path", "falls by more")
    assert (held.verdict, held.measured, held.seeds) == ("holds", 100.0, 8)
    rising = [lambda d: d] * 8
    mixed = claim(study.claims(results(falling[:3] + rising[:2])), "exact path", "falls by more")
    assert (mixed.verdict, mixed.measured, mixed.seeds) == ("undecided", 60.0, 5)
    assert claim(study.claims(results(rising)), "exact path", "falls by more").verdict == "fails"


def test_the_form_that_made_the_curve_is_found():
    quadratic = [lambda d, b=b: d * (2 - b * d) for b in (0.4, 0.45, 0.5, 0.55, 0.6, 0.42)]
    ledger = study.claims(results(quadratic))
    assert claim(ledger, "best-of-n").verdict == "holds"  # Quadratic is said to fit it better.
    assert claim(ledger, "exact path", "better than").verdict == "fails"  # Logarithmic is said to.
    logarithmic = [lambda d, b=b: d * (2 - b * np.log(np.where(d > 0, d, 1))) for b in (1.4, 1.5, 1.6, 1.7, 1.45, 1.55)]
    ledger = study.claims(results(logarithmic))
    assert claim(ledger, "best-of-n").verdict == "fails"
    assert claim(ledger, "exact path", "better than").verdict == "holds"


def test_the_peak_moves_with_the_level():
    curves = [lambda d, a=a: d * (a - 0.5 * d) for a in (1.8, 1.9, 2.0, 2.1, 2.2, 1.95)]
    levels = (-0.5, 0.0, 0.5, 0.9)
    moved = claim(study.claims(results(curves, correlations=levels, shift=1.0)), "exact path", "summed proxy")
    assert moved.verdict == "holds"
    assert moved.measured == pytest.approx(1)
    still = claim(study.claims(results(curves, correlations=levels)), "exact path", "summed proxy")
    assert still.verdict == "fails"  # What is equal at all levels does not rise.


def test_following_the_exact_path_is_measured_at_equal_kl():
    curves = [lambda d: d * (2 - 0.5 * d)] * 6
    followed = claim(study.claims(results(curves)), "follows the exact path")
    assert (followed.verdict, followed.measured) == ("holds", pytest.approx(0, abs=1e-9))
    apart = claim(study.claims(results(curves, source="ppo_annealed_kl", shift=2.0)), "follows the exact path")
    assert apart.verdict == "holds"  # At correlation 0 nothing is shifted.


def test_exact_rows_are_the_exact_path(tmp_path):
    found = study.run(SMALL, 0, Job(study.Cell("exact"), tmp_path))
    rows = Table.from_rows(found["curves"])
    default = rows.where(source="exact", correlation=0.0)
    task = made_world(SMALL.world, 0)
    multipliers = default["multiplier"][:, None] * np.ones((1, 2))
    path = kl_regularised.tilted_path(task.reference, known_answer(task), multipliers, task.length)
    assert np.allclose(default["kl"], path.divergence, atol=1e-4)
    assert np.allclose(default["proxy"], path.rewards.sum(1), atol=1e-4)
    assert np.all(np.diff(default["proxy"]) > 0)
    best = rows.where(source="best_of_n")
    assert np.allclose(best["kl"], kl_regularised.best_of_n_divergence(best["n"]))
    assert np.all(np.diff(best["proxy"]) > 0)


def test_figures_come_from_tables_alone(tmp_path):
    curves = [lambda d, a=a: d * (a - 0.5 * d) for a in (1.8, 1.9, 2.0)]
    paths = study.STUDY.draw(results(curves), tmp_path)
    assert {path.name for path in paths} >= {"gold_and_proxy.pdf", "peak_by_correlation.png", "functional_forms.png"}
    assert all(path.stat().st_size > 1000 for path in paths)
    summary = study.summary(results(curves))
    assert summary.unique("curve") == list(study.SOURCES.values())


def test_pieces_follow_the_settings():
    assert study.cells(SMALL) == [study.Cell(name) for name in ("exact", "ppo_annealed_kl", "ppo")]
    assert study.cells(dataclasses.replace(SMALL, learners=())) == [study.Cell("exact")]
    for name, value in (("points", 2), ("largest_n", 1), ("pools", 0)):
        with pytest.raises(ValueError, match=name):
            dataclasses.replace(SMALL, **{name: value})
