"""Replay of random transitions in a reference Gymnasium environment and in ours."""

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from prefront.tasks.finite import FiniteEnvironment


def _equal(ours, theirs):
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        return all(np.array_equal(ours[name], theirs[name]) for name in ours)
    return np.array_equal(ours, theirs)


def _replay_finite(
    environment: FiniteEnvironment,
    theirs,
    steps,
    actions=None,
    see=lambda observation: observation,
    same_state=lambda state, theirs: True,
):
    """Follows a reference environment, step by step, along the outcome of ours that equals what it did.

    Each step starts from equal states. Exactly one distinct outcome of ours with positive probability must equal the
    reference's observation, reward and termination; how often each outcome came about is tested against its
    probability by one chi-square test per probability vector.

    Args:
        environment: Ours.
        theirs: The reference, a `gym.Env`.
        steps: Number of transitions.
        actions: Probabilities of the random actions, or a function of generator and state that draws one.
        see: Turns the reference's observation into ours, where they are known to differ.
        same_state: Compares what observations hide: a state of ours with the unwrapped reference.

    Returns:
        The number of episodes that terminated.
    """
    rng = np.random.default_rng(0)
    key = jax.random.key(0)

    def explain(state, action):
        probabilities, nexts = environment.outcomes(state, action)
        return (
            probabilities,
            nexts,
            jax.vmap(lambda s: environment.observation(s, key))(nexts),
            jax.vmap(lambda s: environment.reward(state, action, s, key))(nexts),
            jax.vmap(lambda s: environment.terminal(s, key))(nexts),
        )

    explain = jax.jit(explain)
    starts, states = environment.initial_outcomes()
    counts: dict[tuple[float, ...], np.ndarray] = {}
    state, ends = None, 0
    for step in range(steps):
        if state is None:
            observation = see(theirs.reset(seed=step)[0])
            seen = [
                _pick(states, k)
                for k in range(len(starts))
                if starts[k] > 0 and _equal(jax.device_get(environment.observation(_pick(states, k), key)), observation)
            ]
            assert seen, observation
            state = seen[0]
        action = actions(rng, state) if callable(actions) else int(rng.choice(environment.action_space.n, p=actions))
        observation, reward, terminated, truncated, _ = theirs.step(action)
        probabilities, nexts, observations, rewards, terminals = jax.device_get(explain(state, action))
        assert rewards.dtype == np.float32
        matching = [
            k
            for k in range(len(probabilities))
            if probabilities[k] > 0
            and terminals[k] == terminated
            and np.array_equal(rewards[k], np.asarray(reward, np.float32))
            and _equal(_pick(observations, k), see(observation))
            and same_state(_pick(nexts, k), theirs.unwrapped)
        ]
        assert matching, (step, state, action, observation, reward, terminated)
        for k in matching[1:]:
            jax.tree.map(np.testing.assert_array_equal, _pick(nexts, k), _pick(nexts, matching[0]))
        if len(matching) < (probabilities > 0).sum():
            assert len(matching) == 1
            counts.setdefault(tuple(probabilities.tolist()), np.zeros(len(probabilities)))[matching[0]] += 1
        ends += terminated
        state = None if terminated or truncated else _pick(nexts, matching[0])
    for probabilities, seen in counts.items():
        possible = np.array(probabilities) > 0
        expected = np.array(probabilities)[possible] / sum(probabilities) * seen.sum()
        assert expected.min() >= 5, "too few transitions for a chi-square test"
        assert chisquare(seen[possible], expected).pvalue > 1e-3
    return ends


def _pick(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.fixture(scope="session")
def replay_finite():
    return _replay_finite
