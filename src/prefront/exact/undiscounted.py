"""Where to start a set-valued iteration without a discount: from policies whose return is finite."""

from __future__ import annotations

import numpy as np

from prefront.exact.tables import TabularMDP


def finite_starts(momdp: TabularMDP, members: np.ndarray, fronts: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Returns for each state of a component the returns of some policies that are finite at discount 1.

    These are 0 where it is possible to gather nothing for ever, and the return of one stationary policy that leaves the
    component, or comes to such a place, with probability 1, where there is one. The rest have no values yet.

    Args:
        momdp: The problem.
        members: States of the component.
        fronts: Sets of the states outside.
    """
    d = momdp.num_objectives
    idle = _idle(momdp, set(members.tolist()))
    starts = {state: np.zeros((1 if state in idle else 0, d)) for state in members.tolist()}
    settled = {state: front[:1] for state, front in fronts.items() if len(front)} | {s: np.zeros((1, d)) for s in idle}
    policy = _proper(momdp, [state for state in members.tolist() if state not in idle], settled)
    if not policy:
        return starts
    states = list(policy)
    place = {state: i for i, state in enumerate(states)}
    system, gains = np.eye(len(states)), np.zeros((len(states), d))
    for state, action in policy.items():
        for successor, chance, reward in _outcomes(momdp, state, action):
            gains[place[state]] += chance * reward
            if successor in place:
                system[place[state], place[successor]] -= chance
            else:
                gains[place[state]] += chance * settled[successor][0]
    values = np.linalg.solve(system, gains)
    starts.update({state: values[place[state]][None] for state in states})
    return starts


def finite_policy(momdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    """Returns a stationary policy that gathers nothing for ever where it can and else comes to such a place or ends.

    Returns:
        Its actions, shape (S,), and in which states there is one, shape (S,), bool.
    """
    ongoing = np.flatnonzero(~momdp.terminal).tolist()
    idle = _idle(momdp, set(ongoing))
    settled = {int(state): np.zeros((1, momdp.num_objectives)) for state in [*np.flatnonzero(momdp.terminal), *idle]}
    policy = _proper(momdp, [state for state in ongoing if state not in idle], settled)
    for state in idle:
        policy[state] = next(a for a in range(momdp.successors.shape[1]) if _rests(momdp, state, a, idle))
    actions, finite = np.zeros(len(momdp.terminal), int), momdp.terminal.copy()
    actions[list(policy)] = list(policy.values())
    finite[list(policy)] = True
    return actions, finite


def _rests(momdp: TabularMDP, state: int, action: int, places: set[int]) -> bool:
    """Tells whether an action gathers nothing and leads to some of these places only."""
    return all(after in places and not reward.any() for after, _, reward in _outcomes(momdp, state, action))


def _outcomes(momdp: TabularMDP, state: int, action: int) -> list[tuple[int, float, np.ndarray]]:
    chances = momdp.probabilities[state, action]
    successors, rewards = momdp.successors[state, action], momdp.rewards[state, action]
    return [(int(successors[k]), float(chances[k]), rewards[k]) for k in np.flatnonzero(chances > 0)]


def _idle(momdp: TabularMDP, states: set[int]) -> set[int]:
    """Returns the largest set of states that some policy never leaves and in which it gathers nothing."""
    while True:
        actions = range(momdp.successors.shape[1])
        staying = {state for state in states if any(_rests(momdp, state, action, states) for action in actions)}
        if staying == states:
            return states
        states = staying


def _proper(momdp: TabularMDP, states: list[int], settled: dict[int, np.ndarray]) -> dict[int, int]:
    """Returns an action for each state from which settled states are reached with probability 1.

    Keeps the states from which they can be reached without leaving what is kept, until nothing more falls out (the
    fixed point of almost-sure reachability).
    """
    kept = set(states)
    while True:
        policy: dict[int, int] = {}
        grown = True
        while grown:
            grown = False
            for state in kept - policy.keys():
                for action in range(momdp.successors.shape[1]):
                    reached = [successor for successor, _, _ in _outcomes(momdp, state, action)]
                    nearer = any(s in policy or (s in settled and s not in kept) for s in reached)
                    if nearer and all(s in kept or s in settled for s in reached):
                        policy[state] = action
                        grown = True
                        break
        if policy.keys() == kept:
            return policy
        kept = set(policy)
