"""Environments with finitely many states: the law written once, as outcomes; sampling, table and answers follow."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.exact.pareto_sets import NoFiniteFrontError, coverage_set, pareto_front
from prefront.exact.tables import TabularMDP
from prefront.pareto.dominance import convex_hull_vertices
from prefront.system.checks import check_discount
from prefront.tasks.enumeration import Enumeration, enumerate_states
from prefront.tasks.environment import Environment, FrontKind


class FiniteEnvironment(Environment):
    """An environment with finitely many states, whose transition law is given by its enumerated outcomes.

    A subclass implements `outcomes` and `initial_outcomes` in place of `transition` and `initial`; sampling follows
    from them, and so does the table from which `prefront.exact` computes the true answers. The state must be a pytree
    of arrays that identifies the Markov state.

    Attributes:
        exact_rewards: The numbers that rewards are made of under the default parameters, float64, any shape; None where
            the shortest decimals that round to the float32 rewards are meant.
    """

    front_kind: FrontKind = "exact"
    exact_rewards: np.ndarray | None = None

    @abc.abstractmethod
    def outcomes(self, state: Any, action: jax.Array, params: Any = None) -> tuple[jax.Array, Any]:
        """Returns the probabilities, shape (K,), and the K possible next states (leading axis K) of an action.

        K is the same for all states and actions. Outcomes may repeat and probabilities may be zero.
        """

    @abc.abstractmethod
    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, Any]:
        """Returns the probabilities, shape (K,), and the K possible starting states (leading axis K)."""

    def initial(self, rng: jax.Array, params: Any = None) -> Any:
        """Draws the state in which an episode starts."""
        return _draw(rng, *self.initial_outcomes(params))

    def transition(self, state: Any, action: jax.Array, rng: jax.Array, params: Any = None) -> Any:
        """Draws the state that follows `action` in `state`."""
        return _draw(rng, *self.outcomes(state, action, params))

    def pareto_front(self, gamma: float | None = None) -> np.ndarray:
        """Returns the exact Pareto set of deterministic policies, see `prefront.exact.pareto_sets.pareto_front`."""
        return self._cached("pareto_front", gamma, lambda discount: pareto_front(self.enumeration().table, discount))

    def coverage_set(self, gamma: float | None = None) -> np.ndarray:
        """Returns the exact convex coverage set, see `prefront.exact.pareto_sets.coverage_set`."""

        def solve(discount: float) -> np.ndarray:
            try:
                return convex_hull_vertices(self.pareto_front(discount))
            except NoFiniteFrontError:
                return coverage_set(self.enumeration().table, discount, "linear support")

        return self._cached("coverage_set", gamma, solve)

    def enumeration(self) -> Enumeration:
        """Returns the states that it reaches under its default parameters, found once and kept, but never pickled."""
        if "_enumeration" not in self.__dict__:
            self.__dict__["_enumeration"] = enumerate_states(self)
        made: Enumeration = self.__dict__["_enumeration"]
        return made

    def table(self, params: Any = None) -> TabularMDP:
        """Returns the dynamics as a table, under the default parameters where None."""
        return self.enumeration().table if params is None else enumerate_states(self, params).table

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what can be computed again."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_enumeration", "_answers")}

    def _cached(self, question: str, gamma: float | None, solve: Any) -> np.ndarray:
        discount = check_discount(self.discount if gamma is None else gamma)
        answers: dict[tuple[str, float], np.ndarray] = self.__dict__.setdefault("_answers", {})
        key = (question, discount)
        if key not in answers:
            answers[key] = solve(discount)
            answers[key].flags.writeable = False
        return answers[key]


def _draw(rng: jax.Array, probabilities: jax.Array, states: Any) -> Any:
    if probabilities.shape[0] == 1:
        return jax.tree.map(lambda leaf: leaf[0], states)
    index = jnp.sum(jnp.cumsum(probabilities) <= jax.random.uniform(rng))
    # Rounding can leave the cumulated sum just below 1: fall back on the last outcome that has any probability.
    last = probabilities.shape[0] - 1 - jnp.argmax(probabilities[::-1] > 0)
    return jax.tree.map(lambda leaf: leaf[jnp.minimum(index, last)], states)
