"""Policy iteration on batches of tables: the numerics behind `prefront.exact.mdp`.

Rows are independent problems of S states. States are numbered through all rows, so that one flat gather serves them
all, and actions come first, so that a maximum over actions runs over contiguous memory.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

# Value iteration to this depth finds nearly all of the policy and costs as much as four evaluations.
WARM_UP_SWEEPS = 32
# An action replaces another only when it gains more than rounding can, as a share of the largest value.
SWITCHING_GAIN = 1e-12
MAXIMUM_ROUNDS = 1000
# Below this discounted weight the rest of an endless path is less than the rounding of its beginning.
NEGLIGIBLE_DISCOUNT = 1e-17
# From this doubling on, paths that can end have mostly ended: the rows whose paths all have are dropped.
DOUBLINGS_BEFORE_DROPPING = 8


def policy_iteration(
    successors: np.ndarray, probabilities: np.ndarray, rewards: np.ndarray, terminal: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solves N reward functions on each of B tables.

    Args:
        successors: Shape (B, S, A, K); terminal states loop.
        probabilities: Shape (B, S, A, K).
        rewards: Mean rewards, shape (B, N, S, A), zero in terminal states.
        terminal: Shape (B, S).
        gamma: Discount in (0, 1).

    Returns:
        V*, shape (B, N, S), an optimal action per state, shape (B, N, S), and Q*, shape (B, N, S, A).

    Raises:
        RuntimeError: Policies still improve after 1000 rounds.
    """
    tables, count, states, actions = rewards.shape
    rows = tables * count
    deterministic = is_deterministic(probabilities)
    if deterministic:
        successors, probabilities = certain_successors(successors, probabilities)[..., None], np.ones((1, 1, 1, 1))
    next_states = _actions_first(successors, count)
    chances = None if deterministic else _actions_first(probabilities, count)
    ends = np.repeat(terminal, count, 0)
    reward = np.ascontiguousarray(rewards.transpose(3, 0, 1, 2).reshape(actions, rows, states))

    flat = next_states + _first_states(rows, states)
    values = np.zeros((rows, states))
    for _ in range(WARM_UP_SWEEPS):
        values = _backup(values, flat, chances, reward, gamma).max(0)
    action_values = _backup(values, flat, chances, reward, gamma)
    chosen = action_values.argmax(0)

    active = np.arange(rows)
    for _ in range(MAXIMUM_ROUNDS):
        policy = chosen[active]
        gained = np.take_along_axis(reward, policy[None], 0)[0]
        if chances is None:
            follows = np.take_along_axis(next_states[:, 0], policy[None], 0)[0]
            found = follow(follows, gained[..., None], ends[active], gamma)[..., 0]
        else:
            follows, likely = next_states.transpose(2, 3, 0, 1), chances.transpose(2, 3, 0, 1)
            found = solve_sparse(follows, likely, np.eye(actions)[policy], gained[..., None], gamma)[..., 0]
            found[ends[active]] = 0.0
        q = _backup(found, flat, chances, reward, gamma)
        best = q.max(0)
        gain = SWITCHING_GAIN * np.abs(found).max(1, keepdims=True)
        better = best > np.take_along_axis(q, policy[None], 0)[0] + gain
        values[active], action_values[:, active] = found, q
        unsettled = better.any(1)
        if not unsettled.any():
            break
        chosen[active] = np.where(better, q.argmax(0), policy)
        if not unsettled.all():
            active = active[unsettled]
            next_states, reward = next_states[:, :, unsettled], reward[:, unsettled]
            chances = None if chances is None else chances[:, :, unsettled]
            flat = next_states + _first_states(len(active), states)
    else:
        raise RuntimeError(f"Policies still improve after {MAXIMUM_ROUNDS} rounds at discount {gamma}.")
    shape = (tables, count, states)
    return values.reshape(shape), chosen.reshape(shape), action_values.transpose(1, 2, 0).reshape(*shape, actions)


def follow(follows: np.ndarray, collected: np.ndarray, ends: np.ndarray, gamma: float) -> np.ndarray:
    """Sums what is collected along the paths of deterministic policies, by doubling how far each pointer looks.

    Args:
        follows: Next state, shape (R, S).
        collected: What leaving each state yields, shape (R, S, d), zero in terminal states.
        ends: Terminal states, shape (R, S).
        gamma: Discount in (0, 1).

    Returns:
        Discounted sums, shape (R, S, d).
    """
    total, ahead, discount = _double(collected, follows, gamma, DOUBLINGS_BEFORE_DROPPING)
    going = ~np.take_along_axis(ends, ahead, 1).all(1)
    if going.any():
        total[going] = _double(total[going], ahead[going], discount, None)[0]
    return total


def _double(
    total: np.ndarray, ahead: np.ndarray, discount: float, most: int | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Doubles pointers `most` times, or until what lies ahead is negligible."""
    rows, states, parts = total.shape
    flat = np.array(total).reshape((rows * states, parts) if parts > 1 else -1)
    first = _first_states(rows, states)
    pointer = (ahead + first).ravel()
    doublings = 0
    while discount > NEGLIGIBLE_DISCOUNT and doublings != most:
        flat += discount * flat.take(pointer, 0)
        pointer = pointer.take(pointer)
        discount, doublings = discount * discount, doublings + 1
    return flat.reshape(rows, states, parts), pointer.reshape(rows, states) - first, discount


def solve_sparse(
    successors: np.ndarray, probabilities: np.ndarray, policy: np.ndarray, collected: np.ndarray, gamma: float
) -> np.ndarray:
    """Evaluates stochastic policies by one sparse LU factorisation over all rows.

    Args:
        successors: Shape (R, S, A, K).
        probabilities: Shape (R, S, A, K).
        policy: Probabilities of actions, shape (R, S, A).
        collected: What leaving each state yields on average, shape (R, S, d).
        gamma: Discount in (0, 1).

    Returns:
        The solution v of v = collected + gamma P v, shape (R, S, d).
    """
    rows, states, parts = collected.shape
    size = rows * states
    chance = (policy[..., None] * probabilities).reshape(size, -1)
    target = (successors + _first_states(rows, states)[..., None, None]).reshape(size, -1)
    used = chance > 0
    origin = np.broadcast_to(np.arange(size)[:, None], target.shape)[used]
    law = scipy.sparse.csc_array((chance[used], (origin, target[used])), shape=(size, size))
    system = scipy.sparse.eye_array(size, format="csc") - gamma * law
    found = scipy.sparse.linalg.splu(system).solve(collected.reshape(size, parts))
    return np.asarray(found).reshape(rows, states, parts)


def is_deterministic(probabilities: np.ndarray) -> bool:
    """Returns whether every transition has one certain outcome."""
    return bool(np.all((probabilities == 0) | (probabilities == 1)))


def certain_successors(successors: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the certain successor of deterministic transitions, shape (..., S, A)."""
    if successors.shape[-1] == 1:
        return successors[..., 0]
    return np.take_along_axis(successors, probabilities.argmax(-1)[..., None], -1)[..., 0]


def _actions_first(table: np.ndarray, count: int) -> np.ndarray:
    """Lays (B, S, A, K) out as (A, K, B * count, S)."""
    return np.repeat(table.transpose(2, 3, 0, 1), count, 2)


def _first_states(rows: int, states: int) -> np.ndarray:
    return (np.arange(rows) * states)[:, None]


def _backup(
    values: np.ndarray, flat: np.ndarray, chances: np.ndarray | None, reward: np.ndarray, gamma: float
) -> np.ndarray:
    """Returns r + gamma E[v], shape (A, R, S)."""
    ahead = values.ravel().take(flat)
    mean = ahead[:, 0] if chances is None else (chances * ahead).sum(1)
    mean *= gamma
    mean += reward
    return mean
