"""Settings of constrained RLHF: which method, and its numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from prefront.exact import kl_constrained
from prefront.system.checks import LARGEST, check_types, nearest_names
from prefront.tasks.generation import GenerationTask, known_answer

RewardTransform = Callable[[jax.Array, Any], jax.Array]
"""Maps rewards (n, K), or (n, K, M) of an ensemble, and a pytree of statistics to rewards (n,) or (n, K)."""

Number = Any
"""A number, or an array with one entry per run."""

VECTORS = ("weights", "thresholds")
STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """One method; a pytree whose leaves are its numbers, so that runs that differ in numbers are one `jax.vmap`.

    Each number may be an array with one entry per run, `weights` and `thresholds` of shape (K,) or (runs, K).

    Attributes:
        kind: "ppo", "ppo_sat" (reward -sum_i a_i (r_i - theta_i)^2), "mu_ppo" (v_i >= theta_i), "all_ppo"
            (v_i <= theta_i) or "xi_ppo" (v_i = theta_i).
        coefficient: KL coefficient of ppo, ppo_sat and all_ppo: "none", "fixed", "annealed" or "adaptive". The
            objective of mu_ppo and xi_ppo is the KL reward itself.
        stop: Whether the policy is frozen: "never", when its KL exceeds `stop_divergence`, or when the "reward"
            sum_i a_i r_i reaches sum_i a_i theta_i.
        form: Multipliers in the "exact" or the "paper" form, see `prefront.learning.lagrangian`.
        multiplier_updates: A step of the multipliers per "iteration" or per "minibatch".
        transform: What becomes of the rewards before they are learned from; None leaves them as they are.
        weights: Composition weights a; None stands for ones.
        thresholds: theta, in units of the (transformed) rewards; None where the method needs none.
        learning_rate: Adam's step size of the policy.
        critic_learning_rate: Adam's step size of the critic.
        final_rate: Share of both that is left at the end of training; they fall linearly.
        kl_coefficient: KL coefficient, or its first value.
        final_kl_coefficient: Its last value where it is annealed, geometrically.
        kl_target: KL, in nats per sequence, that an adaptive coefficient aims at.
        stop_divergence: KL at which training stops, if it does.
        multiplier_rate: Step size of the multipliers.
        multiplier_momentum: Their momentum.
    """

    kind: Literal["ppo", "ppo_sat", "mu_ppo", "all_ppo", "xi_ppo"] = dataclasses.field(default="ppo", metadata=STATIC)
    coefficient: Literal["none", "fixed", "annealed", "adaptive"] = dataclasses.field(default="none", metadata=STATIC)
    stop: Literal["never", "divergence", "reward"] = dataclasses.field(default="never", metadata=STATIC)
    form: Literal["exact", "paper"] = dataclasses.field(default="exact", metadata=STATIC)
    multiplier_updates: Literal["iteration", "minibatch"] = dataclasses.field(default="iteration", metadata=STATIC)
    transform: RewardTransform | None = dataclasses.field(default=None, metadata=STATIC)
    weights: Any = None
    thresholds: Any = None
    learning_rate: Number = 0.03
    critic_learning_rate: Number = 0.1
    final_rate: Number = 1.0
    kl_coefficient: Number = 0.2
    final_kl_coefficient: Number = 0.03
    kl_target: Number = 10.0
    stop_divergence: Number = 10.0
    multiplier_rate: Number = 0.05
    multiplier_momentum: Number = 0.1

    def __post_init__(self) -> None:
        check_types(self)  # The names alone: numbers may be traced, see `check_method`.

    @property
    def constrained(self) -> bool:
        """Whether the method has multipliers."""
        return self.kind in ("mu_ppo", "all_ppo", "xi_ppo")

    @property
    def equality(self) -> bool:
        """Whether its constraints are equalities."""
        return self.kind == "xi_ppo"

    @property
    def upper(self) -> bool:
        """Whether its constraints bound values from above."""
        return self.kind == "all_ppo"

    @property
    def needs_thresholds(self) -> bool:
        """Whether thresholds must be given."""
        return self.constrained or self.kind == "ppo_sat" or self.stop == "reward"


METHODS: dict[str, MethodSettings] = {
    "ppo": MethodSettings(),
    "ppo_fixed_kl": MethodSettings(coefficient="fixed"),
    "ppo_annealed_kl": MethodSettings(coefficient="annealed", kl_coefficient=1.0),
    "ppo_adaptive_kl": MethodSettings(coefficient="adaptive"),
    "ppo_stopped_by_kl": MethodSettings(stop="divergence"),
    "ppo_stopped_by_reward": MethodSettings(stop="reward"),
    "ppo_sat": MethodSettings(kind="ppo_sat"),
    "mu_ppo": MethodSettings(kind="mu_ppo"),
    "all_ppo": MethodSettings(kind="all_ppo"),
    "xi_ppo": MethodSettings(kind="xi_ppo"),
    "mu_ppo_paper": MethodSettings(kind="mu_ppo", form="paper"),
    "all_ppo_paper": MethodSettings(kind="all_ppo", form="paper"),
    "xi_ppo_paper": MethodSettings(kind="xi_ppo", form="paper"),
}


def method_settings(name: str, **changes: Any) -> MethodSettings:
    """Returns the settings of a method by name, with changes.

    Raises:
        ValueError: The name is unknown.
        TypeError: A change names no field.
    """
    if name not in METHODS:
        raise ValueError(f"No method {name!r}. {nearest_names(name, list(METHODS))}")
    known = [field.name for field in dataclasses.fields(MethodSettings)]
    for change in changes:
        if change not in known:
            raise TypeError(f"A method has no setting {change!r}. {nearest_names(change, known)}")
    return dataclasses.replace(METHODS[name], **changes)


def check_method(method: MethodSettings, components: int) -> None:
    """Refuses settings that make no sense.

    Args:
        method: The method.
        components: Number of reward models K.

    Raises:
        ValueError: A number is none or out of range, or there are not K weights or thresholds.
    """
    positive = ["learning_rate", "critic_learning_rate", "kl_target", "stop_divergence", "multiplier_rate"]
    if method.coefficient == "annealed":
        positive += ["kl_coefficient", "final_kl_coefficient"]
    for field in (field for field in dataclasses.fields(method) if not field.metadata.get("static")):
        name, value = field.name, getattr(method, field.name)
        if value is None and field.default is None:
            continue
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{name} must be a number, or one per run, got {value!r}.") from None
        if not (np.abs(numbers) < LARGEST).all():
            raise ValueError(f"{name} must be finite, and below {LARGEST:g} in size, got {value}.")
        if name in positive and not (numbers > 0).all():
            raise ValueError(f"{name} must be positive, got {value}.")
        if name != "thresholds" and not (numbers >= 0).all():
            raise ValueError(f"{name} must not be negative, got {value}.")
        if name in VECTORS and (numbers.ndim not in (1, 2) or numbers.shape[-1] != components):
            raise ValueError(
                f"{components} reward models need {components} {name}, got shape {numbers.shape}: {value}."
            )
    for name in ("final_rate", "multiplier_momentum"):
        if not (np.asarray(getattr(method, name)) <= 1).all():
            raise ValueError(f"{name} must lie in [0, 1], got {getattr(method, name)}.")
    if method.constrained and method.kind != "all_ppo" and method.coefficient != "none":
        raise ValueError(f"{method.kind} maximises the KL reward itself; its coefficient must be 'none'.")
    if method.needs_thresholds and method.thresholds is None:
        raise ValueError(f"{method.kind} with stop={method.stop!r} needs {components} thresholds.")


def check_thresholds(task: GenerationTask, method: MethodSettings, run: int | None) -> None:
    """Refuses thresholds that no policy can meet.

    Args:
        task: A task whose exact answer is known.
        method: A method with multipliers whose numbers have an entry per run.
        run: Which run, None for all.

    Raises:
        UnreachableThresholdsError: No policy meets the thresholds; the message names the reachable range.
    """
    answer, thresholds = known_answer(task), method.thresholds if run is None else method.thresholds[[run]]
    for theta in np.unique(thresholds, axis=0):
        if not method.upper:
            kl_constrained.check_reachable(task.reference, answer, theta, task.length, method.equality)
            continue
        low_high = kl_constrained.reward_range(task.reference, answer, task.length)
        if (theta < low_high[:, 0]).any():
            ranges = ", ".join(f"[{low:.4g}, {high:.4g}]" for low, high in low_high)
            raise kl_constrained.UnreachableThresholdsError(
                f"No policy stays below the thresholds {theta}; the reachable ranges are {ranges}."
            )


def per_run(method: MethodSettings, components: int, runs: int) -> MethodSettings:
    """Returns the method with every number as an array of one entry per run, float32.

    Raises:
        ValueError: An array has another number of entries.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(method):
        if field.metadata.get("static"):
            continue
        value = getattr(method, field.name)
        if value is None and field.name == "weights":
            value = np.ones(components)
        if value is None:
            continue
        shape = (runs, components) if field.name in VECTORS else (runs,)
        try:
            changes[field.name] = np.broadcast_to(np.asarray(value, np.float32), shape)
        except ValueError:
            raise ValueError(f"{field.name} has shape {np.shape(value)}; {runs} runs need {shape}.") from None
    return dataclasses.replace(method, **changes)
