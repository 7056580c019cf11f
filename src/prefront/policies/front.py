"""A front: policies none of which another dominates, their return vectors, and what makes these comparable."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from prefront.learning.networks import Parameters, PolicyNetwork
from prefront.pareto.indicators import Hypervolume, check_points, crowding_distance, hypervolume, non_dominated
from prefront.pareto.weights import check_weights
from prefront.policies import solution_files
from prefront.policies.evaluation import evaluate_under
from prefront.policies.policy import Policy
from prefront.system.failures import not_finite
from prefront.system.read_only import read_only
from prefront.tasks.environment import AnyEnvironment
from prefront.tasks.identity import differences
from prefront.tasks.task import Conditions


@dataclasses.dataclass(frozen=True, eq=False)
class Front:
    """A finite set of policies with distinct, mutually non-dominated return vectors, in lexicographic order.

    `Front.of` and `insert` filter and sort; the constructor only checks.

    Attributes:
        network: The network that all policies share.
        parameters: Nested dict of NumPy arrays, stacked along a leading policy axis; read-only.
        returns: Return vectors, shape (policies, objectives), float64; read-only.
        conditions: What the return vectors depend on.
        environment_steps: Environment steps that training took, without those of evaluation.
        evaluation_steps: Environment steps that evaluation took.
        seed: Seed of the training run; None where several runs are merged.
    """

    network: PolicyNetwork
    parameters: Parameters
    returns: np.ndarray
    conditions: Conditions
    environment_steps: int = 0
    evaluation_steps: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        returns = check_points(self.returns, "returns")
        if returns.shape[1] != self.conditions.objectives:
            raise ValueError(
                f"Return vectors have length {returns.shape[1]}, but there are {self.conditions.objectives} objectives "
                f"{self.conditions.objective_names}."
            )
        returns, parameters = read_only(returns), read_only(self.parameters)
        for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
            if leaf.shape[:1] != (len(returns),):
                raise ValueError(
                    f"Parameters {jax.tree_util.keystr(path)} have shape {leaf.shape}; their first axis must count the "
                    f"{len(returns)} policies."
                )
            # A logit of -inf in a table means that the action is never taken.
            never = self.network.discrete and self.network.encoder.kind == "tabular"
            if (bad := not_finite(np.where(np.isneginf(leaf), 0, leaf) if never else leaf)).any():
                raise ValueError(
                    f"Parameters {jax.tree_util.keystr(path)} of policy {np.flatnonzero(bad)[0]} are not finite."
                )
        if not np.array_equal(_best(returns), np.arange(len(returns))):
            raise ValueError(
                "Returns must be distinct, mutually non-dominated and sorted; use Front.of to make them so."
            )
        object.__setattr__(self, "returns", returns)
        object.__setattr__(self, "parameters", parameters)

    @classmethod
    def of(
        cls, network: PolicyNetwork, parameters: Parameters, returns: ArrayLike, conditions: Conditions, **counts: Any
    ) -> Front:
        """Makes the front of any policies: keeps what is non-dominated, each return vector once.

        Args:
            network: The policies' network.
            parameters: Nested dict of arrays, stacked along a leading policy axis.
            returns: Return vectors, shape (policies, objectives).
            conditions: What the return vectors depend on.
            **counts: `environment_steps`, `evaluation_steps` and `seed`.
        """
        points = check_points(returns, "returns")
        for leaf in jax.tree.leaves(parameters):
            if np.shape(leaf)[:1] != (len(points),):
                raise ValueError(f"{len(points)} return vectors were given with parameters of shape {np.shape(leaf)}.")
        kept = _best(points)
        return cls(network, _take(parameters, kept), points[kept], conditions, **counts)

    @classmethod
    def empty(cls, network: PolicyNetwork, conditions: Conditions, seed: int | None = None) -> Front:
        """Makes a front without policies, to insert into."""
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        parameters = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), shapes)
        return cls(network, parameters, np.zeros((0, conditions.objectives)), conditions, seed=seed)

    def __len__(self) -> int:
        return len(self.returns)

    def __getitem__(self, index: int) -> Policy:
        """Returns the policy number `index`, with its return vector."""
        place = operator.index(index)
        return Policy(self.network, _take(self.parameters, place), self.returns[place].copy())

    def insert(self, parameters: Parameters, returns: ArrayLike) -> Front:
        """Returns the front of these policies and more; a return vector that is there already adds nothing.

        Args:
            parameters: Parameters of the new policies, stacked along a leading axis.
            returns: Their return vectors, shape (new policies, objectives).
        """
        new = check_points(returns, "returns")
        if new.shape[1] != self.conditions.objectives:
            raise ValueError(
                f"Return vectors have length {new.shape[1]}, but the front has {self.conditions.objectives} objectives."
            )
        stacked = jax.tree.map(lambda old, more: np.concatenate([old, np.asarray(more)]), self.parameters, parameters)
        return Front.of(self.network, stacked, np.concatenate([self.returns, new]), self.conditions, **self._counts())

    def merge(self, other: Front) -> Front:
        """Returns the front of the policies of both; steps add up.

        Raises:
            ValueError: The fronts have different networks or conditions; the message names the difference.
        """
        for name in ("network", "conditions"):
            mine, theirs = dataclasses.asdict(getattr(self, name)), dataclasses.asdict(getattr(other, name))
            if differing := differences(mine, theirs):
                raise ValueError(f"Fronts of different {name} cannot be merged. {differing}.")
        return dataclasses.replace(
            self.insert(other.parameters, other.returns),
            environment_steps=self.environment_steps + other.environment_steps,
            evaluation_steps=self.evaluation_steps + other.evaluation_steps,
            seed=self.seed if self.seed == other.seed else None,
        )

    def select(self, weights: ArrayLike) -> Policy:
        """Returns the policy of largest weighted return, see `prefront.policies.solution.Solution.select`."""
        chosen = self._chosen(weights)
        if chosen.ndim:
            raise ValueError(f"One weight vector selects a policy, got an array of shape {np.shape(weights)}.")
        return self[int(chosen)]

    def front(self, weights: ArrayLike | None = None) -> Front:
        """Returns the front of the policies that are selected for several weights; all of them by default."""
        if weights is None:
            return self
        kept = np.unique(self._chosen(np.atleast_2d(weights)))
        return dataclasses.replace(self, parameters=_take(self.parameters, kept), returns=self.returns[kept])

    def crowding_distance(self) -> np.ndarray:
        """Returns the crowding distance of each policy, see `prefront.pareto.indicators.crowding_distance`."""
        return crowding_distance(self.returns)

    def hypervolume(self) -> Hypervolume:
        """Returns the hypervolume against the conditions' reference point, see `pareto.indicators.hypervolume`."""
        return hypervolume(self.returns, self.conditions.reference_point)

    def evaluate(
        self,
        environment: AnyEnvironment | str | None = None,
        episodes: int = 10,
        seed: int = 0,
        *,
        weights: ArrayLike | None = None,
        deterministic: bool | None = None,
        gamma: float | None = None,
    ) -> np.ndarray:
        """Measures mean returns as `Solution.evaluate` says; without weights in the order of `returns`."""
        rows = np.arange(len(self)) if weights is None else self._chosen(np.atleast_2d(weights))
        if len(self) == 0:
            return np.zeros_like(self.returns)
        measured = evaluate_under(
            self.conditions,
            self.network,
            self.parameters,
            environment,
            episodes=episodes,
            seed=seed,
            deterministic=deterministic,
            gamma=gamma,
        )
        return measured[rows]

    def save(self, folder: Any) -> None:
        """Writes the front to a folder, see `prefront.policies.solution.Solution.save`."""
        solution_files.write(solution_files.FRONT, folder, self, len(self))

    @classmethod
    def load(cls, folder: Any) -> Front:
        """Reads a front from a folder, see `prefront.policies.solution.load`."""
        return solution_files.read(solution_files.FRONT, folder, cls)

    def _chosen(self, weights: ArrayLike) -> np.ndarray:
        """Returns the index of the policy of largest weighted return, for each weight vector."""
        checked = check_weights(weights, self.conditions.objectives)
        if len(self) == 0:
            raise ValueError("An empty front has no policy to select.")
        return np.asarray(np.argmax(checked @ self.returns.T, axis=-1))

    def _counts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("environment_steps", "evaluation_steps", "seed")}


def _best(returns: np.ndarray) -> np.ndarray:
    """Returns the indices of the distinct non-dominated return vectors, in lexicographic order."""
    kept = np.flatnonzero(non_dominated(returns))
    return kept[np.lexsort(returns[kept].T[::-1])]


def _take(parameters: Parameters, index: Any) -> Parameters:
    taken: Parameters = jax.tree.map(lambda leaf: np.asarray(leaf)[index], parameters)
    return taken
