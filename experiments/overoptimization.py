"""Gold against proxy and KL: exact curves, learners and best-of-n, and what moves the peak.

In worlds of token sequences whose KL-regularised optima are known exactly, the whole curve of gold against proxy and KL
is computed, and learners and best-of-n sampling are set beside it: where gold peaks and what moves the peak, which of
the published functional forms describe it, and what pairs, label noise and the size of the reward model change.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Literal

import numpy as np

from prefront.experiments.overoptimization_figures import SOURCES, draw, peaks
from prefront.experiments.token_worlds import (
    LearnerSettings,
    Row,
    WorldSettings,
    exact_curve,
    learned_curve,
    made_world,
    reward_columns,
    standard_error,
    whole_settings,
)
from prefront.reports.claim_forms import Way, bounded, larger, share, trend
from prefront.reports.claims import Claim
from prefront.reports.overoptimization import FORMS
from prefront.runs.study import Job, Results, Rows, Study
from prefront.system.checks import MANY, check_distinct, check_least, check_most, check_types
from prefront.system.tables import Table

GAO = "Gao, Schulman and Hilton (2022), Section 3"
MOSKOVITZ = "Moskovitz et al. (2024), Section 4"
STRONGEST = 1000.0  # Rewards have unit variance: at such a multiplier the exact policy is all but deterministic.
FALL = 0.5
AGREEMENT, NEAR = 0.2, 15.0
Learner = Literal["ppo_annealed_kl", "ppo"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is computed.

    Attributes:
        world: The worlds.
        learner: How learners train.
        correlations: Correlations of the gold attributes at which the peak is located.
        pairs: Numbers of comparisons per reward model to compare.
        label_noises: Rates of mistakes to compare.
        learners: Learners beside the exact path, "ppo_annealed_kl" and "ppo".
        models: Reward models to compare, each a form and its width, such as "mlp-32".
        largest_multiplier: End of the exact path, at most 1000.
        points: Points of an exact path.
        samples: Sequences from which gold is estimated at each point.
        largest_n: Largest n of best-of-n, a power of two, and the reference sequences in a pool.
        pools: Independent pools of reference sequences.
        reports: Whether reward models are measured on held-out pairs.
    """

    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    learner: LearnerSettings = dataclasses.field(default_factory=LearnerSettings)
    correlations: tuple[float, ...] = (-0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
    pairs: tuple[int, ...] = (125, 250, 500, 1000, 2000)
    label_noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    learners: tuple[Learner, ...] = ("ppo_annealed_kl", "ppo")
    models: tuple[str, ...] = ("mlp-8", "mlp-32", "transformer-16", "transformer-32")
    largest_multiplier: float = 8.0
    points: int = 33
    samples: int = 2048
    largest_n: int = 4096
    pools: int = 8
    reports: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        check_distinct(self, "correlations", "pairs", "label_noises", "learners", "models", empty=True)
        if self.points < 3 or self.samples < 2 or not self.largest_multiplier > 0:
            raise ValueError(
                f"An exact path needs points >= 3, samples >= 2 and a positive largest_multiplier, got {self.points}, "
                f"{self.samples} and {self.largest_multiplier}."
            )
        check_most(self, STRONGEST, "largest_multiplier")
        check_most(self, MANY, "points", "samples", "largest_n", "pools")
        check_least(self, 1, "pools")
        # The forms that are fitted to a curve need three points.
        if self.largest_n < 4 or self.largest_n & (self.largest_n - 1):
            raise ValueError(f"largest_n must be a power of two of at least 4, got {self.largest_n}.")
        if (self.learners or self.models) and self.learner.iterations < 2 * self.learner.evaluation_interval:
            raise ValueError(
                f"Curves of learners need two evaluations: iterations must be at least 2 * evaluation_interval = "
                f"{2 * self.learner.evaluation_interval}, got {self.learner.iterations}."
            )

    def check(self) -> None:
        """Builds the settings of all worlds."""
        changes: dict[str, tuple[float, ...]] = {
            "correlation": self.correlations,
            "pairs": self.pairs,
            "label_noise": self.label_noises,
        }
        for name, values in changes.items():
            for value in values:
                whole_settings(dataclasses.replace(self.world, **{name: value}))  # type: ignore[arg-type]
        for model in self.models:
            whole_settings(self.world, model)


_SMOKE = Settings(
    learner=LearnerSettings(iterations=60, sequences=128, evaluation_sequences=256),
    correlations=(0.0, 0.9),
    pairs=(250,),
    label_noises=(0.3,),
    models=(),
    points=13,
    samples=512,
    largest_n=256,
    pools=2,
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        kind: "exact": exact paths and best-of-n; "data": exact paths by what reward models learn from; "learner": one
            learner; "model": one reward model that has no exact path.
        name: Which learner or reward model.
    """

    kind: Literal["exact", "data", "learner", "model"]
    name: str | None = None


def cells(settings: Settings) -> list[Cell]:
    """Returns the pieces of work."""
    data = [Cell("data")] if _variants(settings) else []
    learners = [Cell("learner", name) for name in settings.learners]
    return [Cell("exact"), *data, *learners, *(Cell("model", name) for name in settings.models)]


def run(settings: Settings, seed: int, job: Job) -> dict[str, Rows]:
    """Computes the curves of one piece.

    Returns:
        `curves`: one row per point, with the columns of `prefront.experiments.token_worlds` and `source` ("exact",
        "ppo", "ppo_annealed_kl" or "best_of_n"), `model`, `correlation`, `pairs`, `label_noise`, and `iteration` or
        `n` where they apply. `models`: what the reward models are worth on held-out pairs.
    """
    kind, name = job.cell.kind, job.cell.name
    if kind == "exact":
        return _with_reports(settings, settings.world, seed, "linear", _exact(settings, seed))
    if kind == "data":
        return {"curves": [row for world in _variants(settings) for row in _path(settings, world, seed)]}
    if kind == "model":
        curves = _learner(settings, settings.world, seed, "ppo_annealed_kl", job, name)
        return _with_reports(
            settings, settings.world, seed, name, curves + _best_of_n(settings, settings.world, seed, name)
        )
    correlations = settings.correlations if name == "ppo_annealed_kl" else (settings.world.correlation,)
    worlds = [dataclasses.replace(settings.world, correlation=one) for one in _with_default(settings, correlations)]
    return {"curves": [row for world in worlds for row in _learner(settings, world, seed, name, job)]}


def _with_default(settings: Settings, correlations: tuple[float, ...]) -> list[float]:
    return list(dict.fromkeys((settings.world.correlation, *correlations)))


def _labels(world: WorldSettings, source: str, model: str = "linear") -> Row:
    labels: Row = {"source": source, "model": model}
    return {**labels, **{name: getattr(world, name) for name in ("correlation", "pairs", "label_noise")}}


def _path(settings: Settings, world: WorldSettings, seed: int) -> list[Row]:
    whole, made = made_world(world, seed)
    scales = np.linspace(0.0, settings.largest_multiplier, settings.points)
    rows = exact_curve(whole, made, (1.0, 1.0), scales, settings.samples)
    return [{**_labels(world, "exact"), **row} for row in rows]


def _exact(settings: Settings, seed: int) -> list[Row]:
    worlds = [
        dataclasses.replace(settings.world, correlation=one) for one in _with_default(settings, settings.correlations)
    ]
    paths = [row for world in worlds for row in _path(settings, world, seed)]
    return paths + _best_of_n(settings, settings.world, seed)


def _variants(settings: Settings) -> list[WorldSettings]:
    """Worlds that differ from the default in the comparisons that reward models learn from."""
    own = settings.world
    worlds = [dataclasses.replace(own, pairs=one) for one in settings.pairs if one != own.pairs]
    return worlds + [
        dataclasses.replace(own, label_noise=one) for one in settings.label_noises if one != own.label_noise
    ]


def _learner(
    settings: Settings, world: WorldSettings, seed: int, method: str, job: Job, model: str = "linear"
) -> list[Row]:
    from prefront.agents.constrained_rlhf import method_settings

    whole, made = made_world(world, seed, model)
    rows = learned_curve(whole, made, method_settings(method), settings.learner, seed, job)
    return [{**_labels(world, method, model), **row} for row in rows]


def _best_of_n(settings: Settings, world: WorldSettings, seed: int, model: str = "linear") -> list[Row]:
    """The curve of best-of-n by the summed proxy."""
    import jax

    from prefront.agents.best_of_n import best_of_n

    whole, made = made_world(world, seed, model)
    sizes = 2 ** np.arange(int(np.log2(settings.largest_n)) + 1)
    found = best_of_n(whole, made, jax.random.key(seed), sizes, pool=settings.largest_n, pools=settings.pools)
    return [
        {**_labels(world, "best_of_n", model), "n": int(n), "kl": float(found.divergence[i])}
        | {"gold": float(found.gold[i]), "gold_error": float(found.gold_error[i]), **reward_columns(found.rewards[i])}
        for i, n in enumerate(sizes)
    ]


def _with_reports(
    settings: Settings, world: WorldSettings, seed: int, model: str, curves: list[Row]
) -> dict[str, Rows]:
    if not settings.reports:
        return {"curves": curves}
    import jax

    from prefront.envs.token_task import report

    whole, made = made_world(world, seed, model)
    found = jax.device_get(report(whole, made, seed + 2**20))
    reports = [
        {**_labels(world, "report", model), "component": i + 1}
        | {name: float(getattr(found, name)[i]) for name in found._fields if name != "model_correlation"}
        for i in range(whole.components)
    ]
    return {"curves": curves, "models": reports}


def _default(settings: Settings, source: str, **changes: Any) -> Row:
    return {**_labels(settings.world, source), **changes}


def claims(results: Results) -> list[Claim]:
    """Decides what Gao et al. and Moskovitz et al. say of such curves, as far as these worlds show it."""
    settings, curves = results.settings, results["curves"]
    conditions = (
        f"{settings.world.vocabulary} tokens, sequences of {settings.world.length}, {settings.world.pairs} pairs, "
        f"{settings.learner.iterations} iterations of {settings.learner.sequences} sequences"
    )
    optimised = [source for source in ("exact", "ppo_annealed_kl") if source in curves.unique("source")]
    found = {source: peaks(curves, **_default(settings, source)) for source in (*optimised, "best_of_n")}
    ledger = [_falls(found[source], SOURCES[source]) for source in optimised]
    if "ppo_annealed_kl" in optimised:
        ledger.append(_follows(settings, curves))
    for source in optimised:
        ledger += _trends(settings, curves, source)
    ledger.append(_better_form(found["best_of_n"], "best_of_n", "quadratic"))
    ledger += [_better_form(found[one], one, "logarithmic") for one in optimised]
    return [dataclasses.replace(claim, conditions=conditions) for claim in ledger]


def _falls(rows: Table, name: str) -> Claim:
    return share(
        (rows["fall"] > FALL) & (rows["rise"] > 0),
        "above",
        0.5,
        sentence=f"{name}: in more than half of the worlds, gold falls by more than {FALL} from its peak while the "
        "proxy rises.",
        paper=GAO,
        stated="gold falls",
        quantity="of the seeds",
        note=f"gold falls by {rows['fall'].mean():.2f} on average, proxy rises by {rows['rise'].mean():.2f}",
    )


def _follows(settings: Settings, curves: Table) -> Claim:
    """Compares gold at equal KL, by interpolating the exact path."""
    gaps = []
    for seed in curves.unique("seed"):
        exact = curves.where(**_default(settings, "exact"), seed=seed)
        learned = curves.where(**_default(settings, "ppo_annealed_kl"), seed=seed)
        near = learned["kl"] < min(NEAR, float(exact["kl"].max()))
        expected = np.interp(learned["kl"][near], exact["kl"], exact["gold"])
        gaps.append(float(np.mean(np.abs(learned["gold"][near] - expected))))
    return bounded(
        gaps,
        "below",
        AGREEMENT,
        sentence=f"PPO with an annealed KL coefficient follows the exact path within {AGREEMENT} of gold.",
        quantity=f"mean distance in gold at equal KL below {NEAR:g} nats",
    )


def _trends(settings: Settings, curves: Table, source: str) -> list[Claim]:
    """What moves the peak; each level is paired by seed."""
    name = SOURCES[source]
    studies: list[tuple[str, tuple[float, ...], str, str, str, Way]] = [
        (
            "correlation",
            settings.correlations,
            "proxy",
            "rises with the correlation of the gold attributes",
            MOSKOVITZ,
            "rises",
        ),
        (
            "correlation",
            settings.correlations,
            "kl",
            "rises with the correlation of the gold attributes",
            MOSKOVITZ,
            "rises",
        ),
    ]
    if source == "exact":
        studies += [
            ("pairs", settings.pairs, "gold", "rises with the comparisons per reward model", GAO, "rises"),
            ("label_noise", settings.label_noises, "gold", "falls with label noise", "", "falls"),
        ]
    else:
        for form in ("mlp", "transformer"):
            models = tuple(one for one in settings.models if one.startswith(form))
            sizes = f"rises with the width of {form} reward models"
            studies.append(("model", models, "gold", sizes, GAO, "rises"))  # type: ignore[arg-type]
    words = {"proxy": "the summed proxy at the peak of gold", "kl": "KL at the peak", "gold": "gold at its peak"}
    found = []
    for column, levels, quantity, what, paper, way in studies:
        levels = tuple(one for one in levels if len(curves.where(**_default(settings, source, **{column: one}))))
        if len(levels) < 2:
            continue
        values = np.column_stack(
            [peaks(curves, **_default(settings, source, **{column: level}))[quantity] for level in levels]
        )
        means = zip(levels, values.mean(0), strict=True)
        found.append(
            trend(
                values,
                way,
                sentence=f"{name}: {words[quantity]} {what}.",
                paper=paper,
                note="means " + ", ".join(f"{level}: {mean:.3g}" for level, mean in means),
            )
        )
    return found


def _better_form(rows: Table, source: str, form: str) -> Claim:
    """Compares how much of the variance both forms explain."""
    other = "logarithmic" if form == "quadratic" else "quadratic"
    text = {"quadratic": "d (a - b d)", "logarithmic": "d (a - b ln d)"}
    ours, theirs = rows[f"{form}_r_squared"], rows[f"{other}_r_squared"]
    return larger(
        ours,
        theirs,
        sentence=f"{SOURCES[source]}: gold follows {text[form]}, d = sqrt(KL), better than {text[other]}.",
        paper=GAO,
        stated=f"{text[form]} fits {'best-of-n' if form == 'quadratic' else 'reinforcement learning'}",
        quantity="mean difference in R2",
        note=f"paired by seed; mean R2 {ours.mean():.3f} and {theirs.mean():.3f}",
    )


def summary(results: Results) -> Table:
    """Returns one row per curve: means over seeds of the peak, the fall and both fits."""
    curves, rows = results["curves"], []
    labels = ("source", "model", "correlation", "pairs", "label_noise")
    every = dict.fromkeys(zip(*(curves[name].tolist() for name in labels), strict=True))
    for values in every:
        label = dict(zip(labels, values, strict=True))
        found = peaks(curves, **label)
        means = {name: float(np.mean(found[name])) for name in ("gold", "fall", "kl", "proxy")}
        fits = {f"R2 {form}": float(np.mean(found[f"{form}_r_squared"])) for form in FORMS}
        row = {"curve": SOURCES[label["source"]], **{name: label[name] for name in labels[1:]}}
        row |= {"peak gold": means["gold"], "s.e.": standard_error(found["gold"])}
        rows.append(
            row | {"fall": means["fall"], "KL at peak": means["kl"], "proxy at peak": means["proxy"], **fits}
            | {"seeds": len(found)}
        )  # fmt: skip
    return Table.from_rows(rows)


STUDY = Study(
    presets={"smoke": _SMOKE, "paper": Settings()},
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
