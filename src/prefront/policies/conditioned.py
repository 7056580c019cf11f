"""A policy conditioned on weights: one network, whose answer to any weights is an ordinary policy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from prefront.learning.conditioning import fold, folded_network
from prefront.learning.networks import Parameters, PolicyNetwork
from prefront.pareto.weights import check_weights
from prefront.policies import solution_files
from prefront.policies.evaluation import evaluate_under
from prefront.policies.front import Front
from prefront.policies.policy import Policy
from prefront.policies.scores import utility_lattice
from prefront.system.failures import not_finite
from prefront.system.read_only import read_only
from prefront.system.runtime import check_process
from prefront.tasks.environment import AnyEnvironment
from prefront.tasks.task import Conditions


@dataclasses.dataclass(frozen=True, eq=False)
class ConditionedPolicy:
    """One network for all weights, see `prefront.learning.conditioning`.

    Attributes:
        network: The conditioned network, a perceptron on observations that end with weights.
        parameters: Its parameters, a nested dict of NumPy arrays, read-only.
        conditions: What return vectors depend on, in the environment that shows no weights.
        environment_steps: Environment steps that training took, without those of evaluation.
        evaluation_steps: Environment steps that evaluation took.
        seed: Seed of the training run.
    """

    network: PolicyNetwork
    parameters: Parameters
    conditions: Conditions
    environment_steps: int = 0
    evaluation_steps: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        folded_network(self.network, self.conditions.objectives)  # Refuses what cannot be folded.
        solution_files.check_parameters(self.network, self.parameters, None)
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.parameters):
            if not_finite(np.ravel(leaf)).any():
                raise ValueError(f"Parameters {jax.tree_util.keystr(path)} are not finite.")
        object.__setattr__(self, "parameters", read_only(self.parameters))

    def select(self, weights: ArrayLike) -> Policy:
        """Returns the policy for given weights, see `prefront.policies.solution.Solution.select`."""
        if np.ndim(weights) != 1:
            raise ValueError(f"One weight vector selects a policy, got an array of shape {np.shape(weights)}.")
        network, stacked = self.folded(weights)
        return Policy(network, jax.tree.map(lambda leaf: leaf[0], stacked))

    def folded(self, weights: ArrayLike) -> tuple[PolicyNetwork, Parameters]:
        """Returns the ordinary policies for several weights: their network, and their parameters, stacked.

        Args:
            weights: Vectors on the simplex, shape (number, objectives).

        Raises:
            ValueError: The weights have the wrong length, are negative or do not sum to 1.
        """
        check_process()
        checked = np.atleast_2d(check_weights(weights, self.conditions.objectives))
        stacked = jax.vmap(lambda one: fold(self.network, self.parameters, one))(checked.astype(np.float32))
        return folded_network(self.network, self.conditions.objectives), jax.tree.map(np.asarray, stacked)

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
        """Measures mean returns as `Solution.evaluate` says; by default for the lattice of `utility_lattice`."""
        return evaluate_under(
            self.conditions,
            *self.folded(self._asked(weights)),
            environment,
            episodes=episodes,
            seed=seed,
            deterministic=deterministic,
            gamma=gamma,
        )

    def front(self, weights: ArrayLike | None = None, episodes: int = 10, seed: int = 0) -> Front:
        """Returns the front of the policies for several weights, measured as by `evaluate` under the conditions."""
        asked = self._asked(weights)
        network, parameters = self.folded(asked)
        returns = self.evaluate(None, episodes, seed, weights=asked)
        counts = {name: getattr(self, name) for name in ("environment_steps", "evaluation_steps", "seed")}
        return Front.of(network, parameters, returns, self.conditions, **counts)

    def save(self, folder: Any) -> None:
        """Writes the policy to a folder, see `prefront.policies.solution.Solution.save`."""
        solution_files.write(solution_files.CONDITIONED, folder, self, None)

    @classmethod
    def load(cls, folder: Any) -> ConditionedPolicy:
        """Reads a policy from a folder, see `prefront.policies.solution.load`."""
        return solution_files.read(solution_files.CONDITIONED, folder, cls)

    def _asked(self, weights: ArrayLike | None) -> ArrayLike:
        return utility_lattice(self.conditions.objectives) if weights is None else weights
