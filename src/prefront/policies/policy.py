"""One trained policy, usable from plain NumPy and Gymnasium code."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np

from prefront.learning.networks import Parameters, PolicyNetwork
from prefront.system.read_only import read_only
from prefront.system.runtime import check_process

KEY_BOUND = 2**32


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """A policy that maps observations to actions: `env.step(policy(observation))`.

    Attributes:
        network: What the parameters belong to.
        parameters: Nested dict of arrays, read-only copies of those given.
        returns: Its return vector, shape (objectives,), float64, where it is known.
    """

    network: PolicyNetwork
    parameters: Parameters
    returns: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", read_only(self.parameters))

    def __call__(self, observation: Any, rng: np.random.Generator | None = None) -> Any:
        """Chooses an action for one observation, or one for each of a batch.

        Args:
            observation: An element of the observation space, or a batch of them along a new first axis, as a vector
                environment gives.
            rng: Where given, actions are drawn with it; otherwise they are the distribution's mode.

        Returns:
            An element of the action space, or a batch of them: NumPy integers for Discrete, arrays of the
            space's dtype for Box.

        Raises:
            ValueError: The observation does not have the network's shape, or a table has no row for it.
            RuntimeError: This process was forked from one that used jax.
        """
        check_process()
        batched = self._is_batch(observation)
        key = None if rng is None else jax.random.key(int(rng.integers(KEY_BOUND)))
        act = act_on_batch if batched else act_on_one
        action = np.array(act(self.network, self.parameters, observation, key))
        if self.network.action_box is not None:
            return self.network.action_box.on_host(action)
        return action if action.ndim else action[()]

    def _is_batch(self, observation: Any) -> bool:
        encoder = self.network.encoder
        parts = [np.asarray(observation[name]) for name in encoder.names] or [np.asarray(observation)]
        extra = parts[0].ndim - encoder.axes
        lead = parts[0].shape[:1] if extra == 1 else ()
        number = lead[0] if lead else 1
        if extra not in (0, 1) or sum(part.size for part in parts) != number * encoder.components:
            shapes = [part.shape for part in parts]
            raise ValueError(
                f"An observation has {encoder.axes} axes and {encoder.components} numbers, a batch one axis more, "
                f"got shape {shapes[0] if len(shapes) == 1 else shapes}."
            )
        if encoder.kind != "mlp":
            self._check_rows([part.reshape(number, -1) for part in parts])
        return extra == 1

    def _check_rows(self, parts: list[np.ndarray]) -> None:
        encoder, coded = self.network.encoder, len(self.network.encoder.sizes)
        flat = np.concatenate(parts, axis=1)[:, :coded]
        low, high = np.array(encoder.low[:coded]), np.array(encoder.high[:coded])
        fits = (flat >= low) & (flat <= high) & (flat == np.rint(flat))
        if not fits.all():
            wrong = flat[np.flatnonzero(~fits.all(axis=1))[0]]
            raise ValueError(
                f"The observation {wrong.tolist()} lies outside the space of the policy, whole numbers from "
                f"{low.tolist()} to {high.tolist()}."
            )


@partial(jax.jit, static_argnums=0)
def act_on_one(network: PolicyNetwork, parameters: Parameters, observation: Any, key: jax.Array | None) -> jax.Array:
    """Chooses an action for one observation, see `PolicyNetwork.action`."""
    return network.action(parameters, observation, key)


@partial(jax.jit, static_argnums=0)
def act_on_batch(network: PolicyNetwork, parameters: Parameters, observations: Any, key: jax.Array | None) -> jax.Array:
    """Chooses an action for each of a batch of observations; draws are independent."""
    if key is None:
        return jax.vmap(lambda one: network.action(parameters, one))(observations)
    keys = jax.random.split(key, jax.tree.leaves(observations)[0].shape[0])
    return jax.vmap(lambda one, own: network.action(parameters, one, own))(observations, keys)
