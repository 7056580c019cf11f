"""One copy of a vector environment as pure functions: how it starts, steps, and starts anew where an episode ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prefront.tasks import environment as functional
from prefront.tasks.environment import Environment


class Running(NamedTuple):
    """A copy between two steps: its state, steps so far, whether its episode has ended, and the number of events."""

    state: Any
    elapsed: jax.Array
    ended: jax.Array
    events: jax.Array


class Output(NamedTuple):
    """What a step shows of a copy.

    `truncated` says that the limit cut an episode which did not terminate. `info` has Gymnasium's layout for vectors:
    beside each value, under its name with an underscore before it, whether this copy has it.
    """

    observation: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    info: dict[str, Any]
    final_observation: Any
    final_info: dict[str, Any]


def event_key(seed: jax.Array, event: jax.Array) -> jax.Array:
    """Returns the random key of a step or reset by its number."""
    return jax.random.fold_in(jax.random.key(seed), event)


def start_one(environment: Environment, seed: jax.Array, event: jax.Array, params: Any) -> tuple[Running, Any, Any]:
    """Starts an episode; returns the copy, its observation and its info."""
    state, observation = functional.reset(environment, event_key(seed, event), params)
    running = Running(state, jnp.int32(0), jnp.bool_(False), event + jnp.uint32(1))
    return running, observation, environment.state_info(state, params)


def advance_next_step(
    environment: Environment, limit: int, running: Running, action: jax.Array, seed: jax.Array, params: Any
) -> tuple[Running, Output]:
    """Steps a copy, or starts it anew where its episode had ended before."""
    after, out = _step_one(environment, limit, running, action, seed, params)
    fresh, observation, info = start_one(environment, seed, running.events, params)
    must_reset = running.ended
    return functional.select(must_reset, fresh, after), out._replace(
        observation=functional.select(must_reset, observation, out.observation),
        reward=jnp.where(must_reset, jnp.zeros_like(out.reward), out.reward),
        terminated=out.terminated & ~must_reset,
        truncated=out.truncated & ~must_reset,
        info=_laid_out(must_reset, info, out.info),
    )


def advance_same_step(
    environment: Environment, limit: int, running: Running, action: jax.Array, seed: jax.Array, params: Any
) -> tuple[Running, Output]:
    """Steps a copy, and starts it anew within the same step where its episode ends."""
    after, out = _step_one(environment, limit, running, action, seed, params)
    fresh, observation, info = start_one(environment, seed, after.events, params)
    return functional.select(after.ended, fresh, after), out._replace(
        observation=functional.select(after.ended, observation, out.observation),
        info=_laid_out(after.ended, info, out.info),
    )


def _step_one(
    environment: Environment, limit: int, running: Running, action: jax.Array, seed: jax.Array, params: Any
) -> tuple[Running, Output]:
    taken = functional.step(environment, running.state, action, event_key(seed, running.events), params)
    truncated = (running.elapsed + 1 >= limit) & ~taken.terminated
    after = Running(taken.state, running.elapsed + 1, taken.terminated | truncated, running.events + jnp.uint32(1))
    info = environment.transition_info(running.state, action, taken.state, params)
    return after, Output(taken.observation, taken.reward, taken.terminated, truncated, info, taken.observation, info)


def _laid_out(is_reset: jax.Array, of_reset: dict[str, Any], of_step: dict[str, Any]) -> dict[str, Any]:
    """Chooses between the infos of a reset and of a step, which may have different names."""
    laid: dict[str, Any] = {}
    for name in {**of_step, **of_reset}:
        one, other = of_reset.get(name, of_step.get(name)), of_step.get(name, of_reset.get(name))
        nested = isinstance(one, dict)
        laid[name] = (
            _laid_out(is_reset, of_reset.get(name, {}), of_step.get(name, {}))
            if nested
            else functional.select(is_reset, one, other)
        )
        laid[f"_{name}"] = jnp.where(is_reset, name in of_reset, name in of_step)
    return laid
