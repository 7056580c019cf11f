"""Constrained RLHF: PPO with every treatment of KL, PPO-SAT, mu-PPO, All-PPO and xi-PPO in one loop.

Moskovitz et al., "Confronting Reward Model Overoptimization with Constrained RLHF" (ICLR 2024, arXiv 2310.04373),
Table 1. A policy writes whole sequences; each reward model and the KL reward -log pi/pi0 has a value head and an
advantage of its own, and the method says how advantages are mixed:

| method | problem | mixed advantage (exact form) |
|---|---|---|
| ppo | max sum_i a_i v_i + beta v_KL | sum_i a_i A_i + beta A_KL |
| ppo_sat | v_i = theta_i through the reward -sum_i a_i (r_i - theta_i)^2 | A + beta A_KL |
| mu_ppo | max v_KL subject to v_i >= theta_i | A_KL + sum_i lambda_i A_i, lambda_i >= 0 |
| all_ppo | max sum_i a_i v_i subject to v_i <= theta_i | sum_i (a_i - lambda_i) A_i, lambda_i >= 0 |
| xi_ppo | max v_KL subject to v_i = theta_i | A_KL + sum_i lambda_i A_i |

The paper's own form, with squashed multipliers and each advantage normalised, is `form="paper"`. Runs over seeds,
tasks and numbers of a method are one compiled program. Gold is measured beside the training and never fed back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefront.agents.constrained_rlhf_iteration import (
    QUANTITIES,
    RunInputs,
    RunState,
    iterate,
    learned_rewards,
    member_rewards,
)
from prefront.agents.constrained_rlhf_settings import (
    METHODS,
    MethodSettings,
    RewardTransform,
    check_method,
    check_thresholds,
    method_settings,
    per_run,
)
from prefront.learning.checkpoints import Checkpoint
from prefront.learning.lagrangian import Multipliers, effective
from prefront.sequences.policies import SequenceNetworkSettings, SequencePolicy
from prefront.sequences.ppo import SequencePPO, TrainingSettings
from prefront.system.compilation import jit
from prefront.system.failures import TrainingFailure, not_finite
from prefront.tasks.generation import GenerationTask, known_answer

__all__ = [
    "METHODS",
    "MethodSettings",
    "RewardTransform",
    "SequenceNetworkSettings",
    "Trainer",
    "TrainingFailure",
    "TrainingResult",
    "TrainingSettings",
    "method_settings",
    "train",
]


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What R runs gave.

    Attributes:
        history: One entry per evaluation, shape (R, E, ...): `iteration`, `sequences` (learned from so far), `gold` and
            `gold_error` (its standard error), with `test_sequences` the same of other sequences as `test_gold` and
            `test_gold_error`, `rewards` (K), `kl`, `entropy`, `multipliers`, `coefficient`, `stopped`;
            with thresholds `threshold_errors` (K), signed, relative to the threshold or to 1 where that is larger, and
            their mean size `threshold_error`; with an optimum `optimum_divergence` (KL(policy || optimum)) and
            `gold_gap` (gold of the optimum minus that of the policy). The first entry is the reference policy.
        batches: One entry per iteration, measured on its own sequences, shape (R, N, ...): `rewards`, `kl`,
            `multipliers`, `coefficient`, `policy_loss`, `value_loss`.
        state: The final state.
        evaluation_sequences: Sequences of evaluation per run, which are not among those learned from.
        policy: The policy that `state.networks.policy` holds the parameters of.
    """

    history: dict[str, np.ndarray]
    batches: dict[str, np.ndarray]
    state: RunState
    evaluation_sequences: int
    policy: SequencePolicy


class Trainer:
    """Runs of one method, compiled; advanced as far as the caller likes."""

    def __init__(
        self,
        task: GenerationTask,
        method: MethodSettings,
        keys: jax.Array,
        training: TrainingSettings | None = None,
        *,
        statistics: Any = None,
        ensemble: Any = None,
        optimum: Any = None,
        checkpoint: str | Path | None = None,
        check_reachable: bool = True,
    ) -> None:
        """Checks and prepares; see `train` for the arguments."""
        if not (isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) and keys.ndim < 2):
            raise ValueError(f"keys must be one or more random keys, such as jax.random.key(0), got {keys!r}.")
        keys = keys[None] if keys.ndim == 0 else keys
        self.task, self.runs, self.shared = task, keys.shape[0], np.ndim(task.reference.initial) == 1
        if not self.shared and len(task.reference.initial) != self.runs:
            raise ValueError(f"{self.runs} keys need as many tasks, or one; got {len(task.reference.initial)}.")
        first = self._task(0)
        raw = _shape(first, first.rewards)
        if len(raw) != 2 or raw[0] != 3:
            raise ValueError(f"A task returns K rewards a sequence, shape (n, K), but {raw} for 3.")
        components = raw[1]
        check_method(method, components)
        if optimum is not None:
            known_answer(first)
            optimum = jnp.broadcast_to(jnp.asarray(optimum, jnp.float32), (self.runs, components))
        self.method, self.inputs = per_run(method, components, self.runs), RunInputs(statistics, ensemble, optimum)
        one, inputs = jax.tree.map(lambda leaf: leaf[0], (self.method, self.inputs))
        made = _shape(
            first, lambda own: learned_rewards(one, member_rewards(first, inputs.ensemble, own), inputs.statistics)
        )
        own = ensemble is None and method.transform is None
        if made not in ((3, 1), (3, components)):
            raise ValueError(
                f"A reward transform returns one reward or {components} per sequence, from {raw} it made {made}."
            )
        if task.per_token and (method.kind == "ppo_sat" or not own):
            raise ValueError("Rewards per token are those of the task's own models; set per_token=False.")
        if method.needs_thresholds and method.kind != "ppo_sat" and made != raw:
            raise ValueError(f"{components} thresholds need {components} rewards, but the transform returns one.")
        if check_reachable and method.constrained and own and first.answer is not None:
            for run in range(1 if self.shared else self.runs):
                check_thresholds(self._task(run), self.method, None if self.shared else run)
        self.ppo = SequencePPO.build(training or TrainingSettings(), task.vocabulary, task.length, made[1])
        self.checkpoint = Checkpoint(checkpoint, {"network": dataclasses.asdict(self.ppo.policy.network)})
        self.state = _start(self.ppo, self.method, keys)
        self._history: list[dict[str, np.ndarray]] = []
        self._batches: list[dict[str, np.ndarray]] = []

    def measure(self) -> dict[str, np.ndarray]:
        """Evaluates the present policies and appends to the history; returns the entry, leading axis R.

        Raises:
            TrainingFailure: Gold, a reward or KL is not finite.
        """
        entry = _evaluate(self.ppo, self.shared, self.task, self.method.thresholds, self.inputs.optimum, self.state)
        multipliers = effective(self.state.multipliers.raw, self.method.form, self.method.equality)
        measured = jax.device_get({**entry, "multipliers": multipliers})
        for quantity in ("gold", "rewards", "kl"):
            if (bad := not_finite(measured[quantity])).any():
                run = int(np.flatnonzero(bad)[0])
                raise self._failure(f"measured {quantity}", run, int(self.state.iteration[run]))
        self._history.append(measured)
        return self._history[-1]

    def advance(self, iterations: int) -> dict[str, np.ndarray]:
        """Trains; returns what was measured on the way, shape (R, iterations, ...).

        Raises:
            TrainingFailure: Something is not finite any more.
        """
        given = (self.ppo, self.shared, iterations, self.method, self.task, self.inputs, self.state)
        self.state, batches = _advance(*given)
        failures = np.asarray(self.state.failure)
        if failures.any():
            self.state = self.state._replace(failure=jnp.zeros_like(self.state.failure))
            run = int(np.flatnonzero(failures)[0])
            raise self._failure(QUANTITIES[failures[run] - 1], run, int(self.state.iteration[run]) + 1)
        self._batches.append(jax.device_get(batches))
        return self._batches[-1]

    def _failure(self, quantity: str, run: int, iteration: int) -> TrainingFailure:
        return TrainingFailure(quantity, run, "", iteration, f"iteration {iteration}", self.save(), self.state)

    def save(self) -> Path | None:
        """Writes the parameters of all runs to the checkpoint folder, if there is one; returns the file."""
        networks, multipliers = self.state.networks, self.state.multipliers
        arrays = {"policy": networks.policy, "critic": networks.critic, "multipliers": multipliers._asdict()}
        return self.checkpoint.save(arrays, {"iterations": np.asarray(self.state.iteration).tolist()})

    def result(self) -> TrainingResult:
        """Returns the runs as far as they have come."""
        history = {name: np.stack([one[name] for one in self._history], axis=1) for name in self._history[0]}
        names = self._batches[0] if self._batches else ()
        batches = {name: np.concatenate([one[name] for one in self._batches], axis=1) for name in names}
        evaluated = len(self._history) * self.ppo.training.evaluation_sequences
        return TrainingResult(history, batches, self.state, evaluated, self.ppo.policy)

    def _task(self, run: int) -> Any:
        return self.task if self.shared else jax.tree.map(lambda leaf: leaf[run], self.task)


def _shape(task: GenerationTask, rewards: Callable[[jax.Array], jax.Array]) -> tuple[int, ...]:
    """Shape of what a function makes of three sequences."""
    return tuple(jax.eval_shape(rewards, jnp.zeros((3, task.length + 1), jnp.int32)).shape)


def train(
    task: GenerationTask,
    method: MethodSettings,
    keys: jax.Array,
    training: TrainingSettings | None = None,
    **options: Any,
) -> TrainingResult:
    """Trains R runs of one method at once.

    Args:
        task: One task, or R tasks stacked along a leading axis.
        method: The method; its numbers may have one entry per run.
        keys: R random keys, one per run; one key is one run.
        training: How training proceeds.
        **options: `statistics` (second argument of the reward transform, leading axis R), `ensemble` (reward models
            with leading axes R and M, learned from in place of a token world's own), `optimum` (multipliers (K,) or
            (R, K) of the exact optimum to measure the distance to), `checkpoint` (folder for the last good
            parameters), `check_reachable` (whether thresholds that no policy can meet are refused).

    Returns:
        Histories and the final state.

    Raises:
        ValueError: Bad settings; the message names the value and what is allowed.
        UnreachableThresholdsError: No policy meets the thresholds; the message names the reachable range.
        TrainingFailure: Something is not finite any more.
    """
    trainer = Trainer(task, method, keys, training, **options)
    total, interval = trainer.ppo.training.iterations, trainer.ppo.training.evaluation_interval
    trainer.measure()
    for done in range(0, total, interval):
        trainer.advance(min(interval, total - done))
        trainer.measure()
    trainer.save()
    return trainer.result()


@partial(jit, level=0, fusion_emitters=False, static_argnums=0)
def _start(ppo: SequencePPO, method: MethodSettings, keys: jax.Array) -> RunState:
    def one_run(method: MethodSettings, key: jax.Array) -> RunState:
        for_policy, for_critic, for_run = jax.random.split(key, 3)
        zeros, none = jnp.zeros(ppo.critic.outputs - 1), jnp.int32(0)
        coefficient = method.kl_coefficient * (method.coefficient != "none")
        networks = ppo.init(for_policy, for_critic)
        return RunState(networks, Multipliers(zeros, zeros), coefficient, none, none, jnp.bool_(False), none, for_run)

    return jax.vmap(one_run)(method, keys)


@partial(jit, fusion_emitters=False, static_argnums=(0, 1, 2))
def _advance(
    ppo: SequencePPO,
    shared: bool,
    iterations: int,
    method: MethodSettings,
    tasks: GenerationTask,
    inputs: RunInputs,
    states: RunState,
) -> tuple[RunState, dict[str, jax.Array]]:
    def one_run(method: MethodSettings, task: GenerationTask, inputs: RunInputs, state: RunState) -> Any:
        step = partial(iterate, ppo, method, task, inputs)
        return jax.lax.scan(lambda one, _: step(one), state, None, length=iterations)

    return jax.vmap(one_run, in_axes=(0, None if shared else 0, 0, 0))(method, tasks, inputs, states)


@partial(jit, fusion_emitters=False, static_argnums=(0, 1))
def _evaluate(
    ppo: SequencePPO, shared: bool, tasks: GenerationTask, thresholds: Any, optimum: Any, states: RunState
) -> dict[str, jax.Array]:
    # One run after the other: the gold of all runs' sequences at once would not fit into a CPU's cache.
    def one_run(given: tuple[Any, ...]) -> dict[str, jax.Array]:
        task, theta, multipliers, state = given
        measured = ppo.evaluate(state.networks.policy, tasks if shared else task, state.key, multipliers)
        for name in ("iteration", "sequences", "coefficient", "stopped"):
            measured[name] = getattr(state, name)
        if theta is not None:
            measured["threshold_errors"] = (measured["rewards"] - theta) / jnp.maximum(jnp.abs(theta), 1.0)
            measured["threshold_error"] = jnp.abs(measured["threshold_errors"]).mean()
        return measured

    return jax.lax.map(one_run, (None if shared else tasks, thresholds, optimum, states))
