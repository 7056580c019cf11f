"""Gymnasium's tabular environments as MDPs, against value iteration on their own tables."""

import gymnasium as gym
import numpy as np
import pytest

from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.exact import mdp as exact
from prefront.exact.tables import check_mdp
from prefront.tasks.enumeration import enumerate_states
from prefront.tasks.gymnasium_tables import from_gymnasium

GAMMA = 0.95
# The newest version, whose number differs between releases of Gymnasium.
TAXI, CLIFF = (max(id for id in gym.registry if id.startswith(name)) for name in ("Taxi-v", "CliffWalking-v"))


def value_iteration(table, gamma):
    """Plain value iteration on `P`, in which an outcome that is done adds nothing."""
    states, actions = len(table), len(table[0])
    width = max(len(table[s][a]) for s in range(states) for a in range(actions))
    p, r, to, going = (np.zeros((states, actions, width)) for _ in range(4))
    for s in range(states):
        for a in range(actions):
            for k, (chance, after, reward, done) in enumerate(table[s][a]):
                p[s, a, k], r[s, a, k], to[s, a, k], going[s, a, k] = chance, reward, after, not done
    values = np.zeros(states)
    for _ in range(2000):
        values = (p * (r + gamma * going * values[to.astype(int)])).sum(-1).max(-1)
    return values


@pytest.mark.parametrize(
    ("id", "kwargs"),
    [
        ("FrozenLake-v1", {"is_slippery": True}),
        ("FrozenLake-v1", {"is_slippery": False, "map_name": "8x8"}),
        (TAXI, {}),
        (CLIFF, {}),
    ],
)
def test_optimal_values_equal_value_iteration(id, kwargs):
    env = gym.make(id, **kwargs)
    mdp, weights = from_gymnasium(env)
    check_mdp(mdp)
    values = exact.solve(mdp, exact.expected_rewards(mdp, weights), GAMMA).values
    assert np.allclose(values[:-1], value_iteration(env.unwrapped.P, GAMMA), atol=1e-9, rtol=0)
    assert values[-1] == 0
    assert np.allclose(mdp.initial[:-1], env.unwrapped.initial_state_distrib)


@pytest.mark.parametrize("kind", ["reward_level", "next_state", "state_action"])
def test_kinds_of_features_give_the_same_rewards(kind):
    env = gym.make("FrozenLake-v1", is_slippery=False)
    mdp, weights = from_gymnasium(env, kind)
    live = ~mdp.terminal
    assert live.sum() == 11
    assert (mdp.rewards.sum(-1)[live][mdp.probabilities[live] > 0] == 1).all()
    values = exact.solve(mdp, exact.expected_rewards(mdp, weights), GAMMA).values
    assert np.allclose(values[:-1], value_iteration(env.unwrapped.P, GAMMA), atol=1e-9)


def test_features_of_ones_own():
    env = gym.make(TAXI)

    def features(state, action, after):
        return [1.0, action >= 4]

    with pytest.raises(ValueError, match="pass weights"):
        from_gymnasium(env, features)
    with pytest.raises(ValueError, match="is not linear in the features"):
        from_gymnasium(env, features, [-1.0, -9.0])
    lake = gym.make("FrozenLake-v1")
    mdp, weights = from_gymnasium(lake, lambda s, a, after: [1.0, after == 15], [0.0, 1.0])
    values = exact.solve(mdp, exact.expected_rewards(mdp, weights), GAMMA).values
    assert np.allclose(values[:-1], value_iteration(lake.unwrapped.P, GAMMA), atol=1e-9)


def test_what_cannot_be_converted_is_named():
    with pytest.raises(TypeError, match="CartPoleEnv has no transition table"):
        from_gymnasium(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="Did you mean next_state"):
        from_gymnasium(gym.make("FrozenLake-v1"), "nextstate")


def test_enumerated_and_written_tables_agree():
    """The table enumerated from the environment's functions has the values of the table made at once."""
    env = Delivery()
    enumerated, own = enumerate_states(env).table, env.table()
    returns = [
        exact.baselines(table, exact.expected_rewards(table, PUBLISHED_WEIGHTS), 0.999) for table in (enumerated, own)
    ]
    assert np.allclose(returns[0], returns[1], atol=1e-5)
