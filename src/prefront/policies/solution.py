"""What every agent hands back: something that has a policy for any weights, and can be measured and stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from prefront.policies import solution_files
from prefront.policies.conditioned import ConditionedPolicy
from prefront.policies.front import Front
from prefront.policies.policy import Policy
from prefront.system.files import DamagedFileError
from prefront.system.tables import Table
from prefront.tasks.environment import AnyEnvironment
from prefront.tasks.task import Conditions


@runtime_checkable
class Solution(Protocol):
    """What `Front` and `ConditionedPolicy` both answer."""

    @property
    def conditions(self) -> Conditions:
        """What return vectors depend on."""

    @property
    def environment_steps(self) -> int:
        """Environment steps that training took."""

    @property
    def evaluation_steps(self) -> int:
        """Environment steps that evaluation took, which are not among those of training."""

    def select(self, weights: ArrayLike) -> Policy:
        """Returns the policy for given weights.

        Args:
            weights: A vector on the simplex, shape (objectives,).

        Raises:
            ValueError: The weights have the wrong length, are negative or do not sum to 1, or there is no policy.
        """

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
        """Measures mean returns anew, see `prefront.policies.evaluation.evaluate_under`.

        Args:
            environment: An environment or its id; by default that of the conditions.
            episodes: Episodes per policy; 1 is exact where nothing is random.
            seed: Seed of the episodes.
            weights: Vectors on the simplex, shape (number, objectives), whose policies are asked for.
            deterministic: Whether actions are the distributions' modes; by default as in the conditions.
            gamma: Discount; by default that of the conditions.

        Returns:
            Mean returns, float64, one row for each weight vector. The objectives are those of the environment, which
            may pay by others than the one that policies were trained in.

        Raises:
            ValueError: The environment has other spaces than the policies, or weights lie off the simplex.
        """

    def front(self, weights: ArrayLike | None = None) -> Front:
        """Returns the front of the policies for several weights, vectors on the simplex, shape (number, objectives)."""

    def save(self, folder: Any) -> None:
        """Writes it to a folder, in place of what is there; what is equal gives equal bytes."""


Found = TypeVar("Found", bound=Solution)


@dataclasses.dataclass(frozen=True)
class Result(Generic[Found]):
    """What training returns.

    Attributes:
        solution: What was found.
        history: One row per evaluation.
        environment_steps: Environment steps that training took.
        evaluation_steps: Environment steps that evaluation took, which are not among those of training.
    """

    solution: Found
    history: Table
    environment_steps: int
    evaluation_steps: int


def load(folder: str | Path) -> Front | ConditionedPolicy:
    """Reads the solution that a folder holds, of whichever kind.

    Nothing is unpickled, imported or called by a name that the file holds.

    Raises:
        DamagedFileError: There is none, there are several, or one is missing, truncated or altered; the message names
            it.
    """
    makers: dict[solution_files.Form, Callable[[Any], Front | ConditionedPolicy]] = {
        solution_files.FRONT: Front.load,
        solution_files.CONDITIONED: ConditionedPolicy.load,
    }
    found = [form for form in makers if (Path(folder) / form.file).is_file()]
    if len(found) != 1:
        files = [form.file for form in makers]
        raise DamagedFileError(f"{folder} must hold one of {files}, it holds {[form.file for form in found]}.")
    return makers[found[0]](folder)
