"""What an algorithm has to know of an environment, functional or not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from prefront.policies.evaluation import make_environment
from prefront.policies.front import Conditions
from prefront.system.checks import check_discount
from prefront.system.read_only import read_only
from prefront.tasks.environment import Environment
from prefront.tasks.identity import fingerprint


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """An environment and the conditions under which returns in it are compared.

    Attributes:
        id: Gymnasium id; the class's name where a functional environment was not made by an id.
        kwargs: Arguments with which it is made.
        environment: The functional environment; None where the host has to step it.
        observation_space: Space of one observation.
        action_space: Space of one action.
        discount: Evaluation discount.
        reference_point: Reference point of the hypervolume, shape (objectives,), read-only.
        objective_names: One name per objective.
    """

    id: str
    kwargs: Mapping[str, Any]
    environment: Environment | None
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    discount: float
    reference_point: np.ndarray
    objective_names: tuple[str, ...]

    @property
    def objectives(self) -> int:
        """Number of objectives."""
        return len(self.objective_names)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what id and arguments do not tell, see `prefront.tasks.identity.fingerprint`."""
        if self.environment is not None:
            return fingerprint(self.environment)
        made = make_environment(self.id, **self.kwargs)
        taken = fingerprint(made)
        if isinstance(made, gym.Env):
            made.close()
        return taken

    def conditions(self) -> Conditions:
        """Returns what return vectors in this task depend on.

        Raises:
            ValueError: The environment's arguments are no JSON values.
        """
        return Conditions(
            self.id,
            self.discount,
            tuple(self.reference_point),
            self.objective_names,
            kwargs=self.kwargs,
            fingerprint=self.fingerprint,
        )

    def identity(self) -> dict[str, Any]:
        """Returns all by which one task is told from another, as JSON holds it."""
        spaces = {"observation_space": str(self.observation_space), "action_space": str(self.action_space)}
        identity: dict[str, Any] = json.loads(json.dumps({**dataclasses.asdict(self.conditions()), **spaces}))
        return identity

    @classmethod
    def of(
        cls, environment: Environment | str, discount: float | None = None, reference_point: ArrayLike | None = None
    ) -> Task:
        """Reads the task off an environment.

        Args:
            environment: A functional environment, or a Gymnasium id; ours are functional.
            discount: Evaluation discount; the environment's own by default.
            reference_point: Reference point; the environment's own by default.

        Raises:
            TypeError: The environment's reward is no vector.
            ValueError: The environment states no discount or reference point and none is given, or the reference point
                has the wrong length.
        """
        made = make_environment(environment) if isinstance(environment, str) else environment

        def stated(name: str) -> Any:
            if isinstance(made, Environment):
                return getattr(made, name, None)
            return made.get_wrapper_attr(name) if made.has_wrapper_attr(name) else None

        space = stated("reward_space")
        if space is None or len(space.shape) != 1:
            raise TypeError(f"{environment} has no vector reward: its `reward_space` is {space}.")
        names = stated("objective_names") or [f"objective_{i}" for i in range(space.shape[0])]
        discount = stated("discount") if discount is None else discount
        reference = stated("reference_point") if reference_point is None else reference_point
        missing = [name for name, value in (("discount", discount), ("reference_point", reference)) if value is None]
        if missing:
            raise ValueError(f"{environment} does not state its {' and '.join(missing)}; set {' and '.join(missing)}.")
        point = np.asarray(reference, np.float64)
        if point.shape != (len(names),):
            raise ValueError(f"The reference point has length {point.size}, but there are {len(names)} objectives.")
        id = environment if isinstance(environment, str) else environment.id or type(environment).__name__
        functional = made if isinstance(made, Environment) else None
        return cls(
            functional.id or id if functional is not None else id,
            functional.kwargs if functional is not None else {},
            functional,
            made.observation_space,
            made.action_space,
            check_discount(discount),
            read_only(point),
            tuple(names),
        )
