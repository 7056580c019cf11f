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

from prefront.system.checks import check_discount
from prefront.system.read_only import read_only
from prefront.tasks.environment import Environment
from prefront.tasks.identity import fingerprint
from prefront.tasks.registry import make_environment


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What return vectors depend on; fronts are comparable only where these agree.

    Attributes:
        environment: Id of the environment.
        discount: Evaluation discount, in (0, 1].
        reference_point: Reference point of the hypervolume, one number per objective.
        objective_names: One name per objective.
        deterministic: Whether returns are those of deterministic policies, or of drawn actions.
        kwargs: Arguments with which the environment is made, as JSON holds them.
        fingerprint: Digest of what id and arguments do not tell of dynamics and rewards, see `prefront.tasks.identity`.
    """

    environment: str
    discount: float
    reference_point: tuple[float, ...]
    objective_names: tuple[str, ...]
    deterministic: bool = True
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check_discount(self.discount)
        reference = tuple(float(number) for number in self.reference_point)
        if len(reference) != len(self.objective_names) or not np.isfinite(reference).all():
            raise ValueError(
                f"The reference point must be one finite number for each of the {len(self.objective_names)} objectives "
                f"{tuple(self.objective_names)}, got {reference} of length {len(reference)}."
            )
        try:
            kwargs = json.loads(json.dumps(dict(self.kwargs), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"The environment's arguments must be JSON values, got {self.kwargs!r}.") from error
        object.__setattr__(self, "reference_point", reference)
        object.__setattr__(self, "objective_names", tuple(self.objective_names))
        object.__setattr__(self, "kwargs", kwargs)

    @classmethod
    def of(
        cls,
        environment: str,
        *,
        discount: float | None = None,
        reference_point: ArrayLike | None = None,
        objective_names: tuple[str, ...] | None = None,
        deterministic: bool = True,
        **kwargs: Any,
    ) -> Conditions:
        """Fills in what the environment itself states, for example for `Conditions.of("DeepSeaTreasure-v0")`.

        Args:
            environment: Id of the environment.
            discount: Evaluation discount; the environment's own by default.
            reference_point: Reference point; the environment's own by default.
            objective_names: Names; the environment's own by default.
            deterministic: Whether policies are evaluated deterministically.
            **kwargs: Arguments with which the environment is made.

        Raises:
            ValueError: Something is not given that the environment does not state.
        """
        given = {"discount": discount, "reference_point": reference_point, "objective_names": objective_names}
        made = make_environment(environment, **kwargs)
        stated = getattr(made, "unwrapped", made)
        given = {name: getattr(stated, name, None) if value is None else value for name, value in given.items()}
        missing = [name for name, value in given.items() if value is None]
        if missing:
            raise ValueError(f"{environment} does not state its {', '.join(missing)}; give {', '.join(missing)}.")
        return cls(
            environment,
            **given,  # type: ignore[arg-type]
            deterministic=deterministic,
            kwargs=kwargs,
            fingerprint=fingerprint(made),
        )

    @property
    def objectives(self) -> int:
        """Number of objectives."""
        return len(self.objective_names)


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
        cls,
        environment: Task | Environment | str,
        discount: float | None = None,
        reference_point: ArrayLike | None = None,
    ) -> Task:
        """Reads the task off an environment.

        Args:
            environment: A functional environment, or a Gymnasium id; ours are functional. A task is returned as it is.
            discount: Evaluation discount; the environment's own by default.
            reference_point: Reference point; the environment's own by default.

        Raises:
            TypeError: The environment's reward is no vector.
            ValueError: The environment states no discount or reference point and none is given, or the reference point
                has the wrong length, or a task is given another one.
        """
        if isinstance(environment, Task):
            if discount is not None or reference_point is not None:
                raise ValueError(
                    f"A task has its own discount and reference point, got {discount!r}, {reference_point!r}."
                )
            return environment
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
