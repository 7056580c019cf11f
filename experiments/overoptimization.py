"""Gold against proxy and KL: exact curves, learners and best-of-n, and what moves the peak.

In worlds of token sequences whose KL-regularised optima are known exactly, the whole curve of gold against proxy and KL
is computed, and learners and best-of-n sampling are set beside it: where gold peaks, how the peak moves with the
correlation of what gold is made of, and which of the published functional forms describe the curves.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefront.experiments import token_worlds
from prefront.experiments.token_worlds import LearnerSettings, Row, WorldSettings
from prefront.reports.bands import ABOVE, curves, draw_panels
from prefront.reports.claim_forms import bounded, larger, share, trend
from prefront.reports.claims import Claim
from prefront.reports.overoptimization import FORMS, TEXTS, averages, fitted_forms, peaks
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_distinct, check_least, check_most, check_types
from prefront.system.tables import Table

GAO = "Gao, Schulman and Hilton (2022), Section 3"
MOSKOVITZ = "Moskovitz et al. (2024), Section 4"
FALL, AGREEMENT, NEAR = 0.5, 0.2, 15.0
SOURCES = {
    "exact": "exact path",
    "ppo_annealed_kl": "PPO, KL annealed",
    "ppo": "PPO, no KL",
    "best_of_n": "best-of-n",
}
BEST_FORM = {"exact": "logarithmic", "ppo_annealed_kl": "logarithmic", "best_of_n": "quadratic"}
"""The form that is said to fit each source best."""


def check_curves(settings: Any) -> None:
    """Refuses settings of a study of curves: a fit needs three points of a path, of best-of-n and two evaluations."""
    check_least(settings, 3, "points")
    check_least(settings, 2, "samples")
    check_least(settings, 1, "pools")
    check_most(settings, MANY, "points", "samples", "largest_n", "pools")
    if settings.largest_n < 4 or settings.largest_n & (settings.largest_n - 1):
        raise ValueError(f"largest_n must be a power of two of at least 4, got {settings.largest_n}.")
    if settings.learner.iterations < 2 * settings.learner.evaluation_interval:
        raise ValueError(
            f"Curves of learners need two evaluations: iterations must be at least 2 * evaluation_interval = "
            f"{2 * settings.learner.evaluation_interval}, got {settings.learner.iterations}."
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is computed.

    Attributes:
        world: The worlds.
        learner: How learners train.
        correlations: Correlations of the gold attributes at which the peak is located, beside that of the worlds.
        learners: Learners beside the exact path, "ppo_annealed_kl" and "ppo".
        points: Points of an exact path.
        samples: Sequences from which gold is estimated at each point.
        largest_n: Largest n of best-of-n, a power of two, and the reference sequences in a pool.
        pools: Independent pools of reference sequences.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    correlations: tuple[float, ...] = (-0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
    learners: tuple[Literal["ppo_annealed_kl", "ppo"], ...] = ("ppo_annealed_kl", "ppo")
    points: int = 33
    samples: int = 2048
    largest_n: int = 4096
    pools: int = 8

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "correlations", "learners", empty=True)
        check_curves(self)

    def check(self) -> None:
        """Builds the settings of all worlds."""
        for world in self.worlds:
            token_worlds.whole_settings(world)

    @property
    def worlds(self) -> list[WorldSettings]:
        """The worlds by correlation, their own among them."""
        every = sorted({self.world.correlation, *self.correlations})
        return [dataclasses.replace(self.world, correlation=one) for one in every]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work: "exact", exact paths and best-of-n, or one learner."""

    source: Literal["exact", "ppo_annealed_kl", "ppo"]


def cells(settings: Settings) -> list[Cell]:
    """Returns the pieces of work."""
    return [Cell("exact"), *map(Cell, settings.learners)]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Computes the curves of one piece.

    Returns:
        `curves`: one row per point, with the columns of `prefront.experiments.token_worlds`, `source` (a key of
        `SOURCES`), `correlation`, and `iteration` or `n` where they apply.
    """
    source, rows = job.cell.source, []
    for world in settings.worlds if source != "ppo" else [settings.world]:
        rows += _labelled(source, world, _curve(settings, world, seed, job))
    if source == "exact":
        best = token_worlds.best_of_n_curve(settings.world, seed, settings.largest_n, settings.pools)
        rows += _labelled("best_of_n", settings.world, best)
    return {"curves": rows}


def _labelled(source: str, world: WorldSettings, rows: list[Row]) -> list[Row]:
    return [{"source": source, "correlation": world.correlation, **row} for row in rows]


def _curve(settings: Settings, world: WorldSettings, seed: int, job: Job) -> list[Row]:
    from prefront.agents.constrained_rlhf import method_settings

    if job.cell.source == "exact":
        return token_worlds.exact_path(world, seed, (1.0, 1.0), settings.points, settings.samples)
    own = dataclasses.replace(settings, world=world)
    return token_worlds.learned_curve(own, seed, job, method_settings(job.cell.source))


def _by_source(results: Results) -> dict[str, Table]:
    """Returns the curves of the worlds' own correlation by source."""
    own = results["curves"].where(correlation=results.settings.world.correlation)
    return {source: table for source in SOURCES if len(table := own.where(source=source))}


def claims(results: Results) -> list[Claim]:
    """Decides what Gao et al. and Moskovitz et al. say of such curves, as far as these worlds show it."""
    shown, ledger = _by_source(results), []
    pairs = f"{results.settings.world.pairs} pairs"
    on: dict[str, Any] = {"conditions": token_worlds.conditions(results.settings, pairs)}
    for source, form in ((one, BEST_FORM[one]) for one in shown if one in BEST_FORM):
        name, found, moved = SOURCES[source], peaks(shown[source]), _peaks_by_correlation(results, source)
        (other,), levels = set(FORMS) - {form}, moved.unique("correlation")
        ledger.append(
            larger(
                found[form],
                found[other],
                sentence=f"{name}: gold follows {TEXTS[form]}, d = sqrt(KL), better than {TEXTS[other]}.",
                paper=GAO,
                stated=f"{TEXTS[form]} fits {'best-of-n' if source == 'best_of_n' else 'reinforcement learning'}",
                quantity="mean difference in R2",
                note=f"paired by seed; mean R2 {found[form].mean():.3f} and {found[other].mean():.3f}",
                **on,
            )
        )
        if source == "best_of_n":
            continue
        ledger.append(
            share(
                (found["fall"] > FALL) & (found["rise"] > 0),
                "above",
                0.5,
                sentence=f"{name}: in more than half of the worlds, gold falls by more than {FALL} from its peak "
                "while the proxy rises.",
                paper=GAO,
                stated="gold falls",
                quantity="of the seeds",
                note=f"gold falls by {found['fall'].mean():.2f} on average, proxy rises by {found['rise'].mean():.2f}",
                **on,
            )
        )
        for column, what in (("proxy", "the summed proxy at the peak of gold"), ("kl", "KL at the peak")):
            if len(levels) > 1:
                values = np.column_stack([moved.where(correlation=level)[column] for level in levels])
                sentence = f"{name}: {what} rises with the correlation of the gold attributes."
                ledger.append(trend(values, "rises", levels=levels, sentence=sentence, paper=MOSKOVITZ, **on))
    if "ppo_annealed_kl" in shown:
        gaps = _gaps(shown["exact"], shown["ppo_annealed_kl"])
        sentence = f"PPO with an annealed KL coefficient follows the exact path within {AGREEMENT} of gold."
        quantity = f"mean distance in gold at equal KL below {NEAR:g} nats"
        ledger.append(bounded(gaps, "below", AGREEMENT, sentence=sentence, quantity=quantity, **on))
    return ledger


def _peaks_by_correlation(results: Results, source: str) -> Table:
    return peaks(results["curves"].where(source=source), "correlation")


def _gaps(exact: Table, learned: Table) -> list[float]:
    """Compares gold at equal KL, by interpolating the exact path; one mean distance per seed."""
    gaps = []
    for (seed,), own in learned.groups("seed"):
        path = exact.where(seed=seed)
        near = own.at(own["kl"] < min(NEAR, float(path["kl"].max())))
        gaps.append(float(np.mean(np.abs(near["gold"] - np.interp(near["kl"], path["kl"], path["gold"])))))
    return gaps


def summary(results: Results) -> Table:
    """Returns one row per curve: means over seeds of the peak, the fall and both fits."""
    names = {"gold": "peak gold", "fall": "fall", "kl": "KL at peak", "proxy": "proxy at peak"}
    names |= {form: f"R2 {form}" for form in FORMS}
    every = peaks(results["curves"], "source", "correlation").groups("source", "correlation")
    return Table.from_rows(
        {"curve": SOURCES[source], "correlation": correlation, **averages(rows, names)}
        for (source, correlation), rows in every
    )


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws gold and proxy against distance, the peak by correlation, and the forms fitted to mean curves."""
    shown = _by_source(results)
    named = {name: shown.get(source, Table({})) for source, name in SOURCES.items()}
    panels = [curves(named, x, y) for x, y in (("kl", "gold"), ("kl", "proxy"), ("proxy", "gold"))]
    fitted = [
        curves({"mean": shown[one], **fitted_forms(shown[one])}, "kl", "gold", title=SOURCES[one])
        for one in BEST_FORM
        if one in shown
    ]
    moved = {SOURCES[one]: _peaks_by_correlation(results, one) for one in ("exact", "ppo_annealed_kl") if one in shown}
    heights = {"proxy": "summed proxy at the peak", "kl": "KL at the peak, nats", "gold": "gold at the peak"}
    by_level = [curves(moved, "correlation", column, ylabel=label) for column, label in heights.items()]
    return [
        *draw_panels(folder, "gold_and_proxy", panels, legend=ABOVE),
        *draw_panels(folder, "functional_forms", fitted),
        *(draw_panels(folder, "peak_by_correlation", by_level) if len(results.settings.worlds) > 1 else []),
    ]


STUDY = Study(
    presets={
        "smoke": Settings(
            learner=LearnerSettings(iterations=60, sequences=128, evaluation_sequences=256),
            correlations=(0.0, 0.9),
            points=13,
            samples=512,
            largest_n=256,
            pools=2,
        ),
        "paper": Settings(),
    },
    seeds={"smoke": range(2), "paper": range(1000, 1010)},
    run=run,
    cells=cells,
    claims=[claims],
    figures=[draw],
    summary=summary,
)


if __name__ == "__main__":
    from prefront.cli import main

    sys.exit(main(["run", "overoptimization", *sys.argv[1:]]))
