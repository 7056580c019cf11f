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
from prefront.tasks.environment import AnyEnvironment
from prefront.tasks.task import Conditions


@runtime_checkable
class Solution(Protocol):
    """What `Front` and `ConditionedPolicy` both answer; see there for arguments and errors."""

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
        """Returns the policy for one weight vector on the simplex, shape (objectives,)."""

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
        """Measures mean returns: one row for each weight vector, shape (number, objectives)."""

    def front(self, weights: ArrayLike | None = None) -> Front:
        """Returns the front of the policies for several weights."""

    def save(self, folder: Any) -> None:
        """Writes it to a folder."""


Found = TypeVar("Found", bound=Solution)


@dataclasses.dataclass(frozen=True)
class Result(Generic[Found]):
    """What training returns.

    Attributes:
        solution: What was found.
        history: One row per evaluation: a column for each quantity, shape (evaluations,).
        environment_steps: Environment steps that training took.
        evaluation_steps: Environment steps that evaluation took, which are not among those of training.
    """

    solution: Found
    history: dict[str, np.ndarray]
    environment_steps: int
    evaluation_steps: int


def load(folder: str | Path) -> Front | ConditionedPolicy:
    """Reads the solution that a folder holds, of whichever kind.

    Raises:
        DamagedFileError: There is none, there are several, or it is damaged; the message names it.
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
