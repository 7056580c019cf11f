"""The states that an environment can reach, and its dynamics as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import jax
import numpy as np

from prefront.exact.tables import TabularMDP

# Frontiers are padded to one of a few sizes, since every new size costs a compilation.
SMALLEST_BATCH = 64
BATCH_GROWTH = 8
LARGEST_BATCH = 32768


@runtime_checkable
class Enumerable(Protocol):
    """What is read of a `FiniteEnvironment`: its functions, spaces and the numbers that its rewards are made of."""

    exact_rewards: np.ndarray | None
    action_space: Any

    @property
    def reward_dim(self) -> int:
        """Number of objectives."""

    def outcomes(self, state: Any, action: jax.Array, params: Any = None) -> tuple[jax.Array, Any]:
        """Returns the probabilities and the next states of an action's outcomes."""

    def initial_outcomes(self, params: Any = None) -> tuple[jax.Array, Any]:
        """Returns the probabilities and the states with which episodes can start."""

    def reward(self, state: Any, action: jax.Array, next_state: Any, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns the vector reward of a transition."""

    def terminal(self, state: Any, rng: jax.Array, params: Any = None) -> jax.Array:
        """Returns whether the episode ends in a state."""


@dataclasses.dataclass(frozen=True, eq=False)
class Enumeration:
    """The states that an environment can reach, numbered, and its dynamics as a table.

    In the table, outcomes of one action that lead to the same state are merged; those that an action lacks have
    probability 0 and lead back to the state itself. The likeliest outcome comes first. A terminal state keeps its place
    with reward 0.

    Attributes:
        table: The dynamics; the states are numbered in the order in which they are found.
        states: The environment's states, a pytree with leading axis S.
        index: State number by the bytes of a state's leaves; see `number`.
    """

    table: TabularMDP
    states: Any
    index: dict[bytes, int] = dataclasses.field(repr=False)

    def number(self, state: Any) -> int:
        """Returns the number of an environment state.

        Args:
            state: A state pytree of the environment.

        Raises:
            KeyError: The state cannot be reached.
        """
        example = jax.tree.map(lambda leaf: leaf[:1], self.states)
        typed = jax.tree.map(lambda leaf, like: np.asarray(leaf, like.dtype)[None], state, example)
        key = _row_keys(typed)[0]
        if key not in self.index:
            raise KeyError(f"No state of the table equals {state!r}.")
        return self.index[key]


def enumerate_states(environment: Enumerable, params: Any = None, max_states: int = 2_000_000) -> Enumeration:
    """Enumerates the states that an environment can reach, breadth first, and writes its dynamics out as a table.

    Environments compute in float32, exact answers need the numbers that were meant: every float32 reward and
    probability becomes the shortest decimal that rounds to it (8.2 rather than 8.19999980926513671875), and
    probabilities are then divided by their sum. Where rewards have more digits than that, an environment lists them as
    `exact_rewards`, and those that round to the float32 take its place. The reward must be a function of
    state, action and next state.

    Args:
        environment: The environment; its action space must be `Discrete` and start at 0.
        params: Its parameters, the default ones where None.
        max_states: Limit on the number of states.

    Returns:
        The table, and the states by number.

    Raises:
        TypeError: The environment does not enumerate its outcomes, or its actions are not `Discrete`.
        ValueError: There are more than `max_states` states, or probabilities do not sum to 1.
    """
    if not isinstance(environment, Enumerable):
        raise TypeError(
            f"Only an environment that enumerates its outcomes (FiniteEnvironment) can be tabulated, "
            f"got {type(environment).__name__}."
        )
    _num_actions(environment)
    expand = _expander(environment, params)
    key = jax.random.key(0)
    start_probabilities, start = environment.initial_outcomes(params)
    start = jax.tree.map(np.asarray, start)
    ended = jax.vmap(lambda state: environment.terminal(state, key, params))(start)

    index: dict[bytes, int] = {}
    found: list[Any] = []
    terminal: list[bool] = []

    def enter(states: Any, wanted: np.ndarray, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers states; returns their numbers (-1 where not wanted) and the rows that are new and not terminal."""
        numbers, fresh = np.full(len(wanted), -1, np.int32), []
        keys = _row_keys(states)
        rows = np.flatnonzero(wanted)
        first_seen = []
        for row in rows.tolist():
            number = index.get(keys[row])
            if number is None:
                number = index[keys[row]] = len(index)
                terminal.append(bool(ended[row]))
                first_seen.append(row)
                if not ended[row]:
                    fresh.append(row)
            numbers[row] = number
        if len(index) > max_states:
            raise ValueError(
                f"{type(environment).__name__} has more than {max_states:,} reachable states; "
                f"raise max_states to enumerate them nevertheless."
            )
        found.append(_take(states, np.array(first_seen, int)))
        return numbers, np.array(fresh, int)

    start_weights = _meant(np.asarray(start_probabilities))
    start_numbers, fresh = enter(start, start_weights > 0, np.asarray(ended))
    frontier = _take(start, fresh)
    rows: list[tuple[np.ndarray, ...]] = []
    while len(fresh):
        numbers = np.array([index[row] for row in _row_keys(frontier)], np.int32)
        probabilities, successors, rewards, ended = expand(frontier)
        shape = probabilities.shape
        numbered, fresh = enter(successors, probabilities.ravel() > 0, ended)
        rows.append((numbers, numbered.reshape(shape), probabilities, rewards))
        frontier = _take(successors, fresh)

    return _assemble(environment, rows, np.array(terminal), start_numbers, start_weights, found, index)


def _assemble(
    environment: Enumerable,
    rows: list[tuple[np.ndarray, ...]],
    terminal: np.ndarray,
    start_numbers: np.ndarray,
    start_weights: np.ndarray,
    found: list[Any],
    index: dict[bytes, int],
) -> Enumeration:
    """Puts the expanded frontiers together."""
    count, d = len(terminal), environment.reward_dim
    actions = _num_actions(environment)
    outcomes = rows[0][2].shape[-1] if rows else 1
    successors = np.broadcast_to(np.arange(count, dtype=np.int32)[:, None, None], (count, actions, outcomes)).copy()
    probabilities = np.zeros((count, actions, outcomes))
    rewards = np.zeros((count, actions, outcomes, d))
    for numbers, reached, chances, received in rows:
        # Outcomes that cannot happen keep the state itself as their successor.
        successors[numbers] = np.where(reached >= 0, reached, numbers[:, None, None])
        probabilities[numbers], rewards[numbers] = chances, np.where((reached >= 0)[..., None], received, 0.0)
    probabilities[terminal, :, 0] = 1.0
    successors, probabilities, rewards = _merge_outcomes(successors, _normalised(probabilities), rewards)
    starts = np.unique(start_numbers[start_numbers >= 0])
    weights = np.array([start_weights[start_numbers == state].sum() for state in starts])
    initial = np.zeros(count)
    initial[starts] = _normalised(weights)
    table = TabularMDP(successors, probabilities, rewards, terminal, initial)
    return Enumeration(table, jax.tree.map(lambda *leaves: np.concatenate(leaves), *found), index)


def _num_actions(environment: Enumerable) -> int:
    space = environment.action_space
    if not isinstance(space, gym.spaces.Discrete) or space.start != 0:
        raise TypeError(f"Only Discrete actions from 0 can be tabulated, got {space}.")
    return int(space.n)


def _expander(environment: Enumerable, params: Any) -> Callable[[Any], tuple[np.ndarray, Any, np.ndarray, Any]]:
    """Makes the function from a batch of states to the probabilities, successors, rewards and ends of all outcomes."""
    key = jax.random.key(0)
    listed = environment.exact_rewards if params is None else None
    actions = np.arange(_num_actions(environment), dtype=np.int32)

    def outcome(state: Any, action: jax.Array) -> tuple[Any, ...]:
        probabilities, successors = environment.outcomes(state, action, params)
        rewards = jax.vmap(lambda after: environment.reward(state, action, after, key, params))(successors)
        ended = jax.vmap(lambda after: environment.terminal(after, key, params))(successors)
        return probabilities, successors, rewards, ended

    batched = jax.jit(jax.vmap(jax.vmap(outcome, in_axes=(None, 0)), in_axes=(0, None)))

    def expand_batch(states: Any, count: int) -> tuple[Any, ...]:
        size = SMALLEST_BATCH
        while size < count:
            size *= BATCH_GROWTH
        padded = jax.tree.map(lambda leaf: leaf[np.minimum(np.arange(size), count - 1)], states)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], batched(padded, actions))

    def expand(states: Any) -> tuple[np.ndarray, Any, np.ndarray, Any]:
        count = len(jax.tree.leaves(states)[0])
        parts = []
        for begin in range(0, count, LARGEST_BATCH):
            batch = _take(states, np.arange(begin, min(begin + LARGEST_BATCH, count)))
            parts.append(expand_batch(batch, len(jax.tree.leaves(batch)[0])))
        probabilities, successors, rewards, ended = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), successors)
        return _meant(probabilities), flat, _meant(rewards, listed), ended.ravel()

    return expand


def _merge_outcomes(
    successors: np.ndarray, probabilities: np.ndarray, rewards: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds up outcomes that lead to the same state, puts the likeliest first and drops columns that nothing uses."""
    probabilities = probabilities.copy()
    outcomes = successors.shape[-1]
    for later in range(1, outcomes):
        for earlier in range(later):
            same = (successors[..., later] == successors[..., earlier]) & (probabilities[..., earlier] > 0)
            probabilities[..., earlier] += np.where(same, probabilities[..., later], 0.0)
            probabilities[..., later] = np.where(same, 0.0, probabilities[..., later])
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    order = order[..., : max(1, int((probabilities > 0).sum(-1).max()))]
    return (
        np.take_along_axis(successors, order, -1),
        np.take_along_axis(probabilities, order, -1),
        np.take_along_axis(rewards, order[..., None], -2),
    )


def _meant(values: np.ndarray, listed: np.ndarray | None = None) -> np.ndarray:
    """Turns float32 values into the listed numbers or else the shortest decimals that round to them, as float64."""
    if values.dtype != np.float32:
        return values.astype(np.float64)
    distinct, where = np.unique(values, return_inverse=True)
    known = {} if listed is None else {np.float32(number): float(number) for number in listed.ravel()}
    meant = [known.get(value, float(str(value))) for value in distinct]
    return np.array(meant)[where].reshape(values.shape)


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    totals = probabilities.sum(-1, keepdims=True)
    if not np.allclose(totals, 1.0, atol=1e-5):
        worst = float(totals.ravel()[np.argmax(np.abs(totals - 1.0))])
        raise ValueError(f"Probabilities of outcomes must sum to 1, got {worst:.6g}.")
    return np.asarray(probabilities / totals)


def _take(states: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], states)


def _row_keys(states: Any) -> list[bytes]:
    """Returns the bytes that identify each state of a batch."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states)]
    # Adding 0 turns -0.0 into 0.0, which equals it but has other bytes.
    leaves = [leaf + 0.0 if leaf.dtype.kind == "f" else leaf for leaf in leaves]
    parts = [np.ascontiguousarray(leaf).reshape(len(leaf), -1).view(np.uint8) for leaf in leaves]
    table = np.ascontiguousarray(np.concatenate(parts, axis=1))
    keys: list[bytes] = table.view(f"V{table.shape[1]}").ravel().tolist()
    return keys
