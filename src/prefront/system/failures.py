"""What training does when a number is not finite: it stops by one exception, and what was good before is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class TrainingFailure(FloatingPointError):  # noqa: N818 - a failure is what it is called in the field
    """An observation, reward, loss, parameter or return stopped being a finite number.

    Attributes:
        quantity: What was not finite.
        learner: Index of the first learner or run that it belongs to.
        environment: Id of the environment; empty where the runs have worlds of their own.
        iteration: The last iteration before which all was well; updates of one compiled call are noticed at its end.
        moment: When it was noticed, in words.
        checkpoint: File with what was good before, or None.
        state: The last good state, where it is not in a file alone.
    """

    def __init__(
        self,
        quantity: str,
        learner: int,
        environment: str,
        iteration: int,
        moment: str,
        checkpoint: Path | None = None,
        state: Any = None,
    ) -> None:
        super().__init__(quantity, learner, environment, iteration, moment, checkpoint, state)
        self.quantity, self.learner, self.environment = quantity, learner, environment
        self.iteration, self.moment = iteration, moment
        self.checkpoint, self.state = checkpoint, state

    def __str__(self) -> str:
        who = f"{self.environment}, learner {self.learner}" if self.environment else f"Run {self.learner}"
        kept = "No state from before it was stored."
        if self.checkpoint is not None:
            kept = f"What was learned before it is good; it is in {self.checkpoint}."
        elif self.state is not None:
            kept = "What was learned before it is good; it is in the error's attribute `state`."
        return f"{who}: the {self.quantity} is not finite in {self.moment}. {kept}"


def all_finite(tree: Any) -> jax.Array:
    """Returns whether all numbers of a pytree are finite, as a boolean of a compiled program."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def first_failure(before: jax.Array, watched: Sequence[Any]) -> jax.Array:
    """Returns what failed first: 0, or 1 + the index of the first of several pytrees that is not finite.

    Args:
        before: The answer so far, which stays where it is not 0.
        watched: Pytrees of numbers, causes before what follows from them.
    """
    bad = jnp.stack([~all_finite(one) for one in watched])
    return jnp.where(before > 0, before, jnp.where(bad.any(), 1 + jnp.argmax(bad), 0)).astype(jnp.int32)


def not_finite(tree: Any) -> np.ndarray:
    """Returns which rows, along the first axis of all leaves, hold a number that is not finite; on the host."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return np.logical_or.reduce([~np.isfinite(leaf).all(tuple(range(1, leaf.ndim))) for leaf in leaves])
