"""The agents and experiments by name; none of them is imported before it is used."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class CatalogEntry:
    """One agent or experiment.

    Attributes:
        name: What the user types.
        module: The module that holds it.
        summary: One line for `prefront list`.
    """

    name: str
    module: str
    summary: str


AGENTS: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            "cmorl",
            "prefront.agents.cmorl",
            "C-MORL: a population of PPO learners, then extension under constraints on returns (Liu et al., 2025)",
        ),
        CatalogEntry(
            "conditioned_ppo",
            "prefront.agents.conditioned_ppo",
            "conditioned PPO: one network that is shown the weights answers all of them (after Abels et al., 2019)",
        ),
        CatalogEntry(
            "constrained_rlhf",
            "prefront.agents.constrained_rlhf",
            "constrained RLHF on token worlds: PPO, PPO-SAT, mu-, All- and xi-PPO (Moskovitz et al., 2024)",
        ),
    )
}

EXPERIMENTS: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            "quickstart",
            "prefront.experiments.quickstart",
            "a tour in three minutes: Pareto fronts, an overoptimization curve, learned rewards, against exact answers",
        ),
        CatalogEntry(
            "pareto_discovery",
            "prefront.experiments.pareto_discovery",
            "C-MORL against linear scalarisation on every discrete environment, scored by the exact fronts",
        ),
        CatalogEntry(
            "overoptimization",
            "prefront.experiments.overoptimization",
            "gold against proxy and KL: exact curves, learners and best-of-n, and what moves the peak",
        ),
        CatalogEntry(
            "constrained_rlhf",
            "prefront.experiments.constrained_rlhf",
            "constrained RLHF in worlds whose constrained optimum is known: the figures of Moskovitz et al. (2024)",
        ),
        CatalogEntry(
            "reward_shaping",
            "prefront.experiments.reward_shaping",
            "reward shaping and reward-model ensembles against constraints: how far gold falls after its peak",
        ),
        CatalogEntry(
            "regret_preferences",
            "prefront.experiments.regret_preferences",
            "rewards learned from choices by regret or partial return: every learner on the data of every generator",
        ),
        CatalogEntry(
            "identifiability",
            "prefront.experiments.identifiability",
            "three pairs of tasks that choices by partial return cannot tell apart, and choices by regret can",
        ),
        CatalogEntry(
            "optimal_advantage",
            "prefront.experiments.optimal_advantage",
            "the optimal advantage learned from choices by regret, used as such and mistaken for a reward",
        ),
        CatalogEntry(
            "human_preferences",
            "prefront.experiments.human_preferences",
            "models of choice fitted to published human preferences, and rewards learned from few of them",
        ),
    )
}
