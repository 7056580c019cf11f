"""The generation contract: what a policy that writes sequences is given, paid and judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax

from prefront.exact.kl_regularised import CountRewards

Evaluation = Callable[[Any, jax.Array], jax.Array]
"""Maps a task and sequences (n, L + 1) to rewards (n, K), or to gold values (n,)."""


class GenerationTask(Protocol):
    """One object with all of it. A compiled one is a pytree, so that a batch of tasks is one `jax.vmap`.

    Sequences are int32 arrays of shape (..., L + 1), the prompt's token first. No method assumes a finite table: what
    only exact solvers know lies in `answer`.
    """

    @property
    def reference(self) -> Any:
        """The policy that KL is measured from; a `MarkovReference` for those of `prefront.sequences.policies`."""

    @property
    def length(self) -> int:
        """Tokens per sequence L."""

    @property
    def vocabulary(self) -> int:
        """Number of tokens V."""

    @property
    def per_token(self) -> bool:
        """Whether each token is paid what it adds to `answer`; otherwise rewards come with the last token."""

    @property
    def answer(self) -> CountRewards | None:
        """The rewards as the solvers of `prefront.exact` read them; None where no exact answer is known."""

    def prompts(self, key: jax.Array, number: int) -> jax.Array:
        """Draws the tokens before the first one, shape (number,)."""

    def rewards(self, sequences: jax.Array) -> jax.Array:
        """Returns the K rewards of sequences, shape (..., K)."""

    def gold(self, sequences: jax.Array) -> jax.Array:
        """Returns the gold value of sequences, shape (...): for judging, never for training."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CustomRewards:
    """A task that is paid or judged by functions of one's own.

    Attributes:
        task: The task that all else is taken from.
        reward_function: Replaces its rewards; nothing exact is known then.
        gold_function: Replaces its gold.
    """

    task: Any
    reward_function: Evaluation | None = dataclasses.field(default=None, metadata={"static": True})
    gold_function: Evaluation | None = dataclasses.field(default=None, metadata={"static": True})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    @property
    def per_token(self) -> bool:
        """Whether each token is paid: rewards of one's own come with the last token."""
        return self.reward_function is None and self.task.per_token

    @property
    def answer(self) -> CountRewards | None:
        """What exact solvers know of the rewards."""
        return self.task.answer if self.reward_function is None else None

    def rewards(self, sequences: jax.Array) -> jax.Array:
        """Returns the K rewards of sequences, shape (..., K)."""
        return self.reward_function(self.task, sequences) if self.reward_function else self.task.rewards(sequences)

    def gold(self, sequences: jax.Array) -> jax.Array:
        """Returns the gold value of sequences, shape (...)."""
        return self.gold_function(self.task, sequences) if self.gold_function else self.task.gold(sequences)


def known_answer(task: GenerationTask) -> CountRewards:
    """Returns the rewards of a task as exact solvers read them.

    Raises:
        ValueError: No exact answer is known.
    """
    if task.answer is None:
        raise ValueError("No exact answer is known: it needs rewards that are sums over tokens, as of linear models.")
    return task.answer
