"""Proximal policy optimisation of policies that write sequences: batches, the update and the evaluation of any method.

Each reward that is learned from, and last the KL reward -log pi/pi0, has a value head and an advantage of its own; a
method says how advantages are mixed. All is for one run and free of side effects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from prefront.exact import kl_regularised
from prefront.learning.advantages import generalised_advantages
from prefront.learning.policy_gradient import clipped_surrogate, value_loss
from prefront.sequences.policies import SequenceNetwork, SequenceNetworkSettings, SequencePolicy
from prefront.system.checks import MANY, check_between, check_least, check_most, check_types
from prefront.tasks.generation import GenerationTask, known_answer


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How training proceeds; the same for all runs of a batch.

    Attributes:
        iterations: Number of iterations: sample, estimate advantages, update.
        sequences: Sequences per iteration.
        epochs: Passes over them.
        minibatches: Parts of a pass; must divide `sequences`.
        clip: PPO's clipping range of probability ratios.
        lambda_: Parameter of generalised advantage estimation; the discount is 1.
        network: Form of policy and critic.
        evaluation_interval: Iterations between two evaluations.
        evaluation_sequences: Sequences per evaluation; they are counted apart from those of training.
        test_sequences: Further sequences per evaluation, on which `test_gold` is measured: what is chosen by `gold` is
            to be reported by gold of other sequences. At 0 none is.
    """

    iterations: int = 300
    sequences: int = 256
    epochs: int = 2
    minibatches: int = 1
    clip: float = 0.2
    lambda_: float = 0.95
    network: SequenceNetworkSettings = dataclasses.field(default_factory=SequenceNetworkSettings)
    evaluation_interval: int = 10
    evaluation_sequences: int = 1024
    test_sequences: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        counts = ("iterations", "sequences", "epochs", "minibatches", "evaluation_interval", "evaluation_sequences")
        check_least(self, 1, *counts)
        check_most(self, MANY, *counts)
        if self.sequences % self.minibatches:
            raise ValueError(f"sequences={self.sequences} must be a multiple of minibatches={self.minibatches}.")
        check_least(self, 0, "test_sequences")
        check_between(self, 0, 1, "clip")
        check_between(self, 0, 1, "lambda_", closed="both")


class Networks(NamedTuple):
    """What is trained: parameters of policy and critic, and the state of Adam for both."""

    policy: Any
    critic: Any
    optimizer: Any


class Batch(NamedTuple):
    """What an update learns from; leading axis n.

    Attributes:
        sequences: Shape (n, L + 1).
        log_probabilities: Of each token when it was written, shape (n, L).
        advantages: Of H rewards and KL, shape (n, L, H + 1).
        returns: Targets of the critic, shape (n, L, H + 1).
        rewards: Shape (n, H).
    """

    sequences: jax.Array
    log_probabilities: jax.Array
    advantages: jax.Array
    returns: jax.Array
    rewards: jax.Array


Mix = Callable[[Any, Batch], tuple[Any, jax.Array]]
"""Maps what a method carries and a minibatch to what it carries on, and to the advantages (n L,) that are followed."""


@dataclasses.dataclass(frozen=True)
class SequencePPO:
    """All that is fixed when a run is compiled.

    Attributes:
        training: How training proceeds.
        policy: The policy.
        critic: The critic: one head per reward and one for KL.
    """

    training: TrainingSettings
    policy: SequencePolicy
    critic: SequenceNetwork

    @classmethod
    def build(cls, training: TrainingSettings, vocabulary: int, length: int, rewards: int) -> SequencePPO:
        """Builds policy and critic for V tokens, sequences of L and so many rewards."""
        policy = SequencePolicy.build(training.network, vocabulary, length)
        return cls(training, policy, SequenceNetwork(training.network, vocabulary, length, rewards + 1))

    def init(self, key: jax.Array, critic_key: jax.Array) -> Networks:
        """Draws parameters under which the policy is the reference and values are zero."""
        policy, critic = self.policy.init(key), self.critic.init(critic_key)
        return Networks(policy, critic, optax.scale_by_adam().init((policy, critic)))

    def batch(self, networks: Networks, task: GenerationTask, sequences: jax.Array, rewards: jax.Array) -> Batch:
        """Estimates advantages of sequences (n, L + 1) that the policy wrote, paid rewards of shape (n, H)."""
        log_p = self.policy.log_probabilities(networks.policy, task.reference, sequences)
        log_reference = task.reference.log_transitions[sequences[:, :-1], sequences[:, 1:]]
        last = jnp.arange(task.length) == task.length - 1
        if task.per_token:
            paid = kl_regularised.count_increments(known_answer(task), sequences)
        else:
            paid = last[:, None] * rewards[:, None]
        every = jnp.concatenate([paid, (log_reference - log_p)[..., None]], axis=-1).swapaxes(0, 1)
        values = self.critic.apply(networks.critic, sequences).swapaxes(0, 1)
        following = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
        ends = jnp.broadcast_to(last[:, None], values.shape[:2])
        estimates = generalised_advantages(
            every, values, following, ends, jnp.zeros_like(ends), 1.0, self.training.lambda_
        )
        advantages, returns = (one.swapaxes(0, 1) for one in estimates)
        return Batch(sequences, log_p, advantages, returns, rewards)

    def update(
        self,
        networks: Networks,
        reference: Any,
        batch: Batch,
        mix: Mix,
        carried: Any,
        rates: tuple[jax.Array, jax.Array],
        key: jax.Array,
    ) -> tuple[Networks, Any, tuple[jax.Array, jax.Array]]:
        """Trains policy and critic on a batch.

        Args:
            networks: What is trained.
            reference: The reference policy.
            batch: What is learned from.
            mix: How advantages become one, called once per minibatch.
            carried: What `mix` carries.
            rates: Step sizes of policy and critic.
            key: Random key of the order of sequences.

        Returns:
            Networks, what `mix` carried last, and the largest policy and value loss, so that NaN is seen.
        """
        training, adam = self.training, optax.scale_by_adam()

        def losses(parameters: tuple[Any, Any], part: Batch, mixed: jax.Array) -> tuple[jax.Array, Any]:
            log_p = self.policy.log_probabilities(parameters[0], reference, part.sequences)
            surrogate = clipped_surrogate(log_p.ravel(), part.log_probabilities.ravel(), mixed, training.clip)
            error = value_loss(self.critic.apply(parameters[1], part.sequences), part.returns)
            return surrogate + error, (surrogate, error)

        def step(state: tuple[Networks, Any], chosen: jax.Array | None) -> tuple[tuple[Networks, Any], Any]:
            networks, carried = state
            part = batch if chosen is None else jax.tree.map(lambda one: one[chosen], batch)
            carried, mixed = mix(carried, part)
            parameters = (networks.policy, networks.critic)
            gradient, measured = jax.grad(losses, has_aux=True)(parameters, part, mixed)
            direction, optimizer = adam.update(gradient, networks.optimizer)
            policy, critic = (
                jax.tree.map(lambda old, by, rate=rate: old - rate * by, *pair)
                for *pair, rate in zip(parameters, direction, rates, strict=True)
            )
            return (Networks(policy, critic, optimizer), carried), measured

        if training.minibatches == 1:
            parts = None
        else:
            keys = jax.random.split(key, training.epochs)
            orders = jax.vmap(lambda one: jax.random.permutation(one, training.sequences))(keys)
            parts = orders.reshape(training.epochs * training.minibatches, -1)
        steps = training.epochs * training.minibatches
        (networks, carried), measured = jax.lax.scan(step, (networks, carried), parts, length=steps)
        return networks, carried, (jnp.max(measured[0]), jnp.max(measured[1]))

    def evaluate(
        self, parameters: Any, task: GenerationTask, key: jax.Array, optimum: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Measures a policy; nothing of it is fed back.

        All evaluations of a run share their random numbers, so that the curve is smoother than its standard errors say.
        Rewards, KL and entropy of a tabular policy are exact where the task has an exact answer.

        Args:
            parameters: Those of the policy.
            task: What it is judged by.
            key: Random key of the run.
            optimum: Multipliers of the exact optimum to measure the distance to, shape (K,).

        Returns:
            `gold`, `gold_error`, `rewards` (K,), `kl` and `entropy`; with `test_sequences` also `test_gold` and
            `test_gold_error`, with an optimum `optimum_divergence` and `gold_gap`.
        """
        policy, reference = self.policy, task.reference

        def judged(name: str, apart: int, number: int) -> tuple[jax.Array, dict[str, jax.Array]]:
            sequences = policy.sample(parameters, reference, jax.random.fold_in(key, 2**32 - apart), number)
            gold = task.gold(sequences)
            return sequences, {name: gold.mean(), f"{name}_error": gold.std(ddof=1) / jnp.sqrt(1.0 * number)}

        sequences, measured = judged("gold", 1, self.training.evaluation_sequences)
        if task.answer is not None and policy.network.tabular:
            table = policy.table(parameters, reference)
            measured["rewards"] = kl_regularised.expected_rewards(reference.initial, task.answer, table)
        else:
            measured["rewards"] = task.rewards(sequences).mean(0)
        measured["kl"] = policy.divergence(parameters, reference, sequences)
        measured["entropy"] = policy.entropy(parameters, reference, sequences)
        if self.training.test_sequences:
            measured |= judged("test_gold", 2, self.training.test_sequences)[1]
        if optimum is not None:
            best = kl_regularised.tilted_policy(reference, known_answer(task), optimum, task.length)
            if policy.network.tabular:
                distance = kl_regularised.divergence(reference.initial, policy.table(parameters, reference), best)
            else:
                own = policy.log_distributions(parameters, reference, sequences)
                ratio = own - best[jnp.arange(task.length), sequences[:, :-1]]
                distance = jnp.mean(jnp.sum(jnp.exp(own) * ratio, axis=(1, 2)))
            written = kl_regularised.sample(
                jax.random.fold_in(key, 2**32 - 1), reference.initial, best, self.training.evaluation_sequences
            )
            measured |= {"optimum_divergence": distance, "gold_gap": task.gold(written).mean() - measured["gold"]}
        return measured
