"""Constrained RLHF on token worlds: PPO with every treatment of KL, PPO-SAT, mu-PPO, All-PPO and xi-PPO in one loop.

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
worlds and numbers of a method are one compiled program. Gold is measured beside the training and never fed back.
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

from prefront.agents.constrained_rlhf_learner import (
    QUANTITIES,
    LearnerState,
    Program,
    RunInputs,
    evaluate,
    initial_state,
    iterate,
    learned_rewards,
    world_rewards,
)
from prefront.agents.constrained_rlhf_settings import (
    METHODS,
    MethodSettings,
    RewardTransform,
    TrainingSettings,
    check_method,
    method_settings,
    per_run,
)
from prefront.envs.token_task import TokenWorldSettings, World
from prefront.exact import kl_constrained
from prefront.learning.checkpoints import Checkpoint
from prefront.learning.lagrangian import effective
from prefront.preferences.models.sequences import RewardModels, linear_rewards
from prefront.sequences.policies import SequenceNetwork, SequenceNetworkSettings, SequencePolicy
from prefront.system.compilation import jit
from prefront.system.failures import TrainingFailure, all_finite, not_finite

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
        state: The final state, from which `train` goes on.
        evaluation_sequences: Sequences of evaluation per run, which are not among those learned from.
        policy: The policy that `state.policy` holds the parameters of.
    """

    history: dict[str, np.ndarray]
    batches: dict[str, np.ndarray]
    state: LearnerState
    evaluation_sequences: int
    policy: SequencePolicy


class Trainer:
    """Runs of one method, compiled; advanced as far as the caller likes."""

    def __init__(
        self,
        world_settings: TokenWorldSettings,
        worlds: World,
        method: MethodSettings,
        keys: jax.Array,
        training: TrainingSettings | None = None,
        *,
        statistics: Any = None,
        ensemble: RewardModels | None = None,
        optimum: Any = None,
        reward_function: Callable[[World, jax.Array], jax.Array] | None = None,
        gold_function: Callable[[World, jax.Array], jax.Array] | None = None,
        checkpoint: str | Path | None = None,
        check_reachable: bool = True,
    ) -> None:
        """Checks and prepares; see `train` for the arguments."""
        training = training or TrainingSettings()
        if not (isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) and keys.ndim < 2):
            raise ValueError(f"keys must be one or more random keys, such as jax.random.key(0), got {keys!r}.")
        keys = keys[None] if keys.ndim == 0 else keys
        self.runs, components = keys.shape[0], world_settings.components
        check_method(method, components)
        self.shared = np.ndim(worlds.reference.initial) == 1
        if not self.shared and len(worlds.reference.initial) != self.runs:
            raise ValueError(f"{self.runs} keys need as many worlds, or one; got {len(worlds.reference.initial)}.")
        vocabulary, length = world_settings.vocabulary, world_settings.length
        if worlds.reference.log_transitions.shape[-1] != vocabulary:
            raise ValueError(
                f"The worlds have {worlds.reference.log_transitions.shape[-1]} tokens, their settings {vocabulary}."
            )
        if optimum is not None:
            if world_settings.reward_model.kind != "linear" or reward_function is not None:
                raise ValueError("An exact optimum is known for the world's own linear reward models only.")
            optimum = jnp.broadcast_to(jnp.asarray(optimum, jnp.float32), (self.runs, components))
        self.method = per_run(method, components, self.runs)
        self.worlds, self.inputs = worlds, RunInputs(statistics, ensemble, optimum)
        policy = SequencePolicy.build(training.network, vocabulary, length)
        program = Program(
            training,
            policy,
            SequenceNetwork(training.network, vocabulary, length, 0),
            world_settings.reward_model,
            world_settings.per_token,
            reward_function,
            gold_function,
        )
        heads = self._heads(program, components)
        if world_settings.per_token and (method.transform or method.kind == "ppo_sat" or ensemble or reward_function):
            raise ValueError("Rewards per token are those of the world's own models; set per_token=False.")
        if method.needs_thresholds and method.kind != "ppo_sat" and heads != components:
            raise ValueError(f"{components} thresholds need {components} rewards, but the transform returns one.")
        own = reward_function is None and ensemble is None and method.transform is None
        if check_reachable and method.constrained and own and world_settings.reward_model.kind == "linear":
            self._check_reachable(length)
        critic = dataclasses.replace(program.critic, outputs=heads + 1)
        self.program = dataclasses.replace(program, critic=critic)
        network = dataclasses.asdict(self.program.policy.network)
        self.checkpoint = Checkpoint(checkpoint, {"network": network})
        self.state = _start(self.program, self.method, keys)
        self._history: list[dict[str, np.ndarray]] = []
        self._batches: list[dict[str, np.ndarray]] = []

    def measure(self) -> dict[str, np.ndarray]:
        """Evaluates the present policies and appends to the history; returns the entry, leading axis R.

        Raises:
            TrainingFailure: Gold, a reward or KL is not finite.
        """
        inputs = self.inputs._replace(statistics=None, ensemble=None)
        entry = _evaluate(self.program, self.shared, self.worlds, inputs, self.state, self.method.thresholds)
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
        order = (self.program, self.shared, iterations, self.method, self.worlds, self.inputs, self.state)
        self.state, batches = _advance(*order)
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
        state = self.state
        arrays = {"policy": state.policy, "critic": state.critic, "multipliers": state.multipliers._asdict()}
        return self.checkpoint.save(arrays, {"iterations": np.asarray(state.iteration).tolist()})

    def result(self) -> TrainingResult:
        """Returns the runs as far as they have come."""
        history = {name: np.stack([one[name] for one in self._history], axis=1) for name in self._history[0]}
        names = self._batches[0] if self._batches else ()
        batches = {name: np.concatenate([one[name] for one in self._batches], axis=1) for name in names}
        evaluated = len(self._history) * self.program.training.evaluation_sequences
        return TrainingResult(history, batches, self.state, evaluated, self.program.policy)

    def world(self, run: int) -> World:
        """Returns the world of a run."""
        return self.worlds if self.shared else jax.tree.map(lambda leaf: leaf[run], self.worlds)

    def _heads(self, program: Program, components: int) -> int:
        """Number of rewards that have a critic each, and a check of what transform and models return."""

        def both(method: MethodSettings, worlds: World, inputs: RunInputs) -> tuple[jax.Array, jax.Array]:
            sequences = jnp.zeros((3, program.policy.network.length + 1), jnp.int32)

            def one(method: MethodSettings, world: World, inputs: RunInputs) -> tuple[jax.Array, jax.Array]:
                rewards = world_rewards(program, world, inputs.ensemble, sequences)
                if method.kind == "ppo_sat":
                    method = dataclasses.replace(method, kind="ppo")
                return rewards, learned_rewards(method, rewards, inputs.statistics)

            return jax.vmap(one, in_axes=(0, None if self.shared else 0, 0))(method, worlds, inputs)

        raw, learned = jax.eval_shape(both, self.method, self.worlds, self.inputs)
        ensemble = self.inputs.ensemble is not None
        if np.shape(raw)[1:3] != (3, components) or np.ndim(raw) != 3 + ensemble:
            each = f"{components} rewards a sequence" + " and member" * ensemble
            raise ValueError(f"The settings need {each}, the reward models return shape {np.shape(raw)[1:]} for 3.")
        if np.shape(learned)[1:] not in ((3, 1), (3, components)):
            raise ValueError(
                f"A reward transform returns one reward or {components} per sequence, "
                f"from {raw.shape[1:]} it made {np.shape(learned)[1:]}."
            )
        return 1 if self.method.kind == "ppo_sat" else learned.shape[2]

    def _check_reachable(self, length: int) -> None:
        for run in range(1 if self.shared else self.runs):
            world = self.world(run)
            rewards = linear_rewards(world.models)
            own = np.unique(self.method.thresholds if self.shared else self.method.thresholds[run : run + 1], axis=0)
            for theta in own:
                if not self.method.upper:
                    kl_constrained.check_reachable(world.reference, rewards, theta, length, self.method.equality)
                    continue
                low_high = kl_constrained.reward_range(world.reference, rewards, length)
                if (theta < low_high[:, 0]).any():
                    ranges = ", ".join(f"[{low:.4g}, {high:.4g}]" for low, high in low_high)
                    raise kl_constrained.UnreachableThresholdsError(
                        f"No policy stays below the thresholds {theta}; the reachable ranges are {ranges}."
                    )


def train(
    world_settings: TokenWorldSettings,
    worlds: World,
    method: MethodSettings,
    keys: jax.Array,
    training: TrainingSettings | None = None,
    *,
    start: LearnerState | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> TrainingResult:
    """Trains R runs of one method at once.

    Args:
        world_settings: Settings that the worlds were made from.
        worlds: One world, or R worlds stacked along a leading axis.
        method: The method; its numbers may have one entry per run.
        keys: R random keys, one per run; one key is one run.
        training: How training proceeds.
        start: State to go on from, such as that of a former result; by default the reference policy.
        progress: Called with the iterations done and their number.
        **options: `statistics` (second argument of the reward transform, leading axis R), `ensemble` (reward models
            with leading axes R and M, learned from in place of the worlds' own), `optimum` (multipliers (K,) or (R, K)
            of the exact optimum to measure the distance to), `reward_function` and `gold_function` (map a world and
            sequences (n, L + 1) to rewards (n, K) and gold (n,), in place of the world's), `checkpoint` (folder for
            the last good parameters), `check_reachable` (whether thresholds that no policy can meet are refused).

    Returns:
        Histories and the final state.

    Raises:
        ValueError: Bad settings; the message names the value and what is allowed.
        UnreachableThresholdsError: No policy meets the thresholds; the message names the reachable range.
        TrainingFailure: Something is not finite any more.
    """
    trainer = Trainer(world_settings, worlds, method, keys, training, **options)
    if start is not None:
        if not bool(all_finite((start.policy, start.critic, start.optimizer, start.multipliers))):
            raise ValueError("The state to start from holds numbers that are not finite.")
        trainer.state = start
    total, interval = trainer.program.training.iterations, trainer.program.training.evaluation_interval
    trainer.measure()
    for done in range(0, total, interval):
        trainer.advance(min(interval, total - done))
        trainer.measure()
        if progress is not None:
            progress(min(done + interval, total), total)
    trainer.save()
    return trainer.result()


@partial(jit, level=0, fusion_emitters=False, static_argnums=0)
def _start(program: Program, method: MethodSettings, keys: jax.Array) -> LearnerState:
    return jax.vmap(partial(initial_state, program))(method, keys)


@partial(jit, fusion_emitters=False, static_argnums=(0, 1, 2))
def _advance(
    program: Program,
    shared: bool,
    iterations: int,
    method: MethodSettings,
    worlds: World,
    inputs: RunInputs,
    states: LearnerState,
) -> tuple[LearnerState, dict[str, jax.Array]]:
    def one_run(method: MethodSettings, world: World, inputs: RunInputs, state: LearnerState) -> Any:
        step = partial(iterate, program, method, world, inputs)
        return jax.lax.scan(lambda one, _: step(one), state, None, length=iterations)

    return jax.vmap(one_run, in_axes=(0, None if shared else 0, 0, 0))(method, worlds, inputs, states)


@partial(jit, fusion_emitters=False, static_argnums=(0, 1))
def _evaluate(
    program: Program, shared: bool, worlds: World, inputs: RunInputs, states: LearnerState, thresholds: Any
) -> dict[str, jax.Array]:
    # One run after the other: the gold of all runs' sequences at once would not fit into a CPU's cache.
    def one_run(given: tuple[Any, ...]) -> dict[str, jax.Array]:
        return evaluate(program, worlds if shared else given[0], *given[1:])

    return jax.lax.map(one_run, (None if shared else worlds, inputs, states, thresholds))
