"""The regret model with exact values: every step is taken with the optimal policy of the reward it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.mdp import expected_rewards, optimal_successor_features, solve
from prefront.exact.tables import TabularMDP, stack
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.models.base import LinearRewardModel, check_table
from prefront.preferences.models.fitting import padded_size, padded_to
from prefront.preferences.models.regret_search import (
    DEFAULT,
    STATE_SIZES,
    Iterate,
    Problem,
    Progress,
    Search,
    advance,
    begin,
    candidate_weights,
    going,
    measure,
    pose,
    propose,
    screening_loss,
)
from prefront.preferences.segment_scores import Regret, evaluate, linear_form, pair_form
from prefront.preferences.segments import Segments
from prefront.system.compilation import jit


@dataclasses.dataclass(frozen=True, eq=False)
class ExactRegret(LinearRewardModel):
    """Assumes a teacher by `deterministic_regret` (or `general_regret`, as `statistic` says).

    Minus the regret of a segment is w @ phi + V*(end) - V*(start), where V* is exact for the w at hand. By the envelope
    theorem its gradient is that of psi* @ w, the successor features of an optimal policy held fixed; so the search
    (`prefront.preferences.models.regret_search`) alternates between solving the MDP and a Gauss-Newton step of logistic
    regression on features that hold psi*. The weights of the lowest loss are kept, which is always taken with the
    exact V*.

    Attributes:
        mdp: The table that segments refer to.
        gamma: Discount of values.
        discount: Discount inside segments.
        statistic: "deterministic_regret" or "general_regret".
        search: How widely weights of low loss are searched for.
    """

    assumes: ClassVar[str] = "deterministic_regret"
    mdp: TabularMDP
    gamma: float = 0.999
    discount: float = 1.0
    statistic: Regret = "deterministic_regret"
    search: Search = DEFAULT

    def fit(self, dataset: Comparisons[Any], key: jax.Array | int = 0) -> ExactRegret:
        """Returns the model with the weights of the lowest loss."""
        return self.fit_batch([self], [dataset])[0]

    def values(self) -> np.ndarray:
        """Returns V* of the learned reward, shape (S,)."""
        return solve(self.mdp, expected_rewards(self.mdp, self.learned()), self.gamma).values

    def scores(self, segments: Segments) -> np.ndarray:
        """Returns minus the learned regrets, shape (n,)."""
        form = linear_form(segments, self.statistic, self.mdp, self.gamma, self.discount)
        return evaluate(form, self.learned(), self.values())

    @classmethod
    def fit_batch(cls, models: Sequence[ExactRegret], datasets: Sequence[Comparisons[Segments]]) -> list[ExactRegret]:
        """Fits all side by side: one call of the exact solver serves them all, until each has stopped."""
        if len({(model.gamma, model.search) for model in models}) > 1:
            raise ValueError("Models that are fitted at once must agree on the discount gamma and the search.")
        posed = []
        for model, dataset in zip(models, datasets, strict=True):
            check_table(model.mdp, dataset)
            form = pair_form(dataset, model.statistic, model.mdp, model.gamma, model.discount)
            posed.append(pose(form, np.asarray(dataset.labels)))
        with jax.enable_x64(True):
            found = _search([model.mdp for model in models], posed, models[0].gamma, models[0].search)
        fits = zip(models, found, strict=True)
        return [dataclasses.replace(model, weights=end.weights, loss=float(end.loss)) for model, end in fits]


def _search(
    mdps: list[TabularMDP], posed: list[tuple[Problem, np.ndarray]], gamma: float, search: Search
) -> list[Iterate]:
    """Returns the best iterate of each fit."""
    own = list({id(mdp): mdp for mdp in mdps}.values())
    table, which = stack(own), np.array([[id(mdp) for mdp in own].index(id(mdp)) for mdp in mdps])
    candidates = np.stack([candidate_weights(search.candidates, mdp.rewards) for mdp in own])
    values = solve(table, expected_rewards(table, candidates), gamma).values
    moved = np.stack([
        candidates[row][_best(problem, candidates[row], _padded(values[row][:, states]), search)]
        for row, (problem, states) in zip(which, posed, strict=True)
    ])  # fmt: skip
    progress: list[Progress | None] = [None] * len(posed)
    active = np.ones(moved.shape[:2], bool)
    while active.any():
        fits, starts = np.nonzero(active)
        part = TabularMDP(*(leaf[which[fits]] for leaf in table))
        psi = optimal_successor_features(part, moved[fits, starts][:, None], gamma)[:, 0]
        for fit in np.unique(fits):
            problem, states = posed[fit]
            slopes = np.zeros((len(moved[fit]), len(states), psi.shape[-1]))
            slopes[starts[fits == fit]] = psi[fits == fit][:, states]
            progress[fit], *rest = _step(problem, progress[fit], moved[fit], _padded(slopes), search)
            moved[fit], active[fit] = rest
    return [_lowest(one.best) for one in progress if one is not None]


def _padded(values: np.ndarray) -> np.ndarray:
    """Pads the axis of states, the second one."""
    return padded_to(values, padded_size(values.shape[1], STATE_SIZES), axis=1)


@partial(jit, fusion_emitters=False, static_argnames="search")
def _best(problem: Problem, candidates: jax.Array, values: jax.Array, search: Search) -> jax.Array:
    """Returns the numbers of the candidates to start from."""
    losses = jax.lax.map(lambda one: screening_loss(problem, *one), (candidates, values))
    return jnp.argsort(losses)[: search.starts]


@partial(jit, fusion_emitters=False, static_argnames="search")
def _step(
    problem: Problem, progress: Progress | None, moved: jax.Array, slopes: jax.Array, search: Search
) -> tuple[Progress, jax.Array, jax.Array]:
    """Takes or refuses the proposed weights of every start, and proposes the next ones; says which go on."""

    def one(before: Progress | None, w: jax.Array, psi: jax.Array) -> tuple[Progress, jax.Array, jax.Array]:
        found = Iterate(w, psi, *measure(problem, w, psi @ w))
        if before is None:
            after = begin(found)
        else:
            stays = ~going(before, search)
            after = jax.tree.map(lambda old, new: jnp.where(stays, old, new), before, advance(before, found))
        return after, propose(problem, after), going(after, search)

    return jax.vmap(one)(progress, moved, slopes)


def _lowest(ends: Iterate) -> Iterate:
    best = int(np.argmin(ends.loss))
    return Iterate(*(np.asarray(leaf[best]) for leaf in ends))
