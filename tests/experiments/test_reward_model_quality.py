"""The study of the quality of reward models: claims follow from hand-made curves, and small runs are what they say."""

import dataclasses

import numpy as np
import pytest

from prefront.experiments import reward_model_quality as study
from prefront.runs.study import Job, Results
from prefront.system.tables import Table

SMOKE = study.STUDY.presets["smoke"]
WIDTHS = ("linear", "mlp-8", "mlp-32", "transformer-16", "transformer-32")
SETTINGS = dataclasses.replace(SMOKE, pairs=(125, 500, 2000), label_noises=(0.0, 0.1, 0.3), models=WIDTHS)
KL = np.linspace(0, 25, 26)


def results(heights):
    """Curves of gold d (a - d / 2), d = sqrt(KL), whose a is the given one of each level."""
    rows = []
    for seed in range(8):
        for varied, levels in heights.items():
            for source in ("ppo_annealed_kl", "best_of_n") if varied == "model" else ("exact",):
                for level, a in levels.items():
                    d = np.sqrt(KL)
                    gold = d * (a + 0.01 * seed - 0.5 * d)
                    rows += [
                        {"seed": seed, "cell": "", "varied": varied, varied: level, "source": source}
                        | {"kl": kl, "gold": g, "proxy": np.sqrt(kl)}
                        for kl, g in zip(KL, gold, strict=True)
                    ]
    return Results(SETTINGS, {"curves": Table.from_rows(rows)})


HEIGHTS = {
    "pairs": {125: 1.0, 500: 1.5, 2000: 2.0},
    "label_noise": {0.0: 1.0, 0.1: 1.5, 0.3: 2.0},
    "model": dict(zip(WIDTHS, (2.0, 1.0, 1.5, 1.5, 1.5), strict=True)),
}


def claim(words):
    (found,) = [one for one in study.claims(results(HEIGHTS)) if words in one.sentence]
    return found


def test_the_peak_is_compared_level_by_level():
    assert len(study.claims(results(HEIGHTS))) == 4
    pairs = claim("rises with the comparisons per reward model")
    assert (pairs.verdict, pairs.measured) == ("holds", pytest.approx(1))
    assert claim("falls with label noise").verdict == "fails"
    assert claim("width of mlp").verdict == "holds"
    assert claim("width of transformer").verdict == "fails"  # What is equal at all widths does not rise.


def test_figures_and_summary_come_from_tables_alone(tmp_path):
    found = results(HEIGHTS)
    assert {path.name for path in study.STUDY.draw(found, tmp_path)} == {"data_and_models.pdf", "data_and_models.png"}
    summary = study.summary(found)
    assert summary["level"].tolist()[:6] == ["125", "500", "2000", "0", "0.1", "0.3"]
    assert summary["peak gold"][2] > summary["peak gold"][1]


def test_more_pairs_make_another_exact_path(tmp_path):
    small = dataclasses.replace(SMOKE, points=5, samples=64)
    rows = Table.from_rows(study.run(small, 0, Job(study.Cell("pairs"), tmp_path))["curves"])
    assert rows.unique("pairs") == list(small.pairs)
    ends = [table["proxy"][-1] for _, table in rows.groups("pairs")]
    assert len(set(ends)) == 2 and min(ends) > 1


@pytest.mark.slow
def test_reward_models_are_measured_on_held_out_pairs(tmp_path):
    found = study.run(SMOKE, 0, Job(study.Cell("model", "linear"), tmp_path))
    assert {row["component"] for row in found["models"]} == {1, 2}
    assert all(0.5 < row["accuracy"] < 1 for row in found["models"])
    assert {row["source"] for row in found["curves"]} == {"ppo_annealed_kl", "best_of_n"}


def test_pieces_follow_the_settings():
    assert study.cells(SMOKE) == [study.Cell("pairs"), study.Cell("label_noise"), study.Cell("model", "linear")]
    with pytest.raises(ValueError, match="mlp-x"):
        study.STUDY.check(dataclasses.replace(SMOKE, models=("mlp-x",)))
