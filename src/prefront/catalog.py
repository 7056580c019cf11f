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
            "a small tour in under three minutes: Pareto fronts found and checked against the exact ones",
        ),
        CatalogEntry(
            "pareto_discovery",
            "prefront.experiments.pareto_discovery",
            "C-MORL against linear scalarisation on every discrete environment, scored by the exact fronts",
        ),
    )
}
