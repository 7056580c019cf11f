"""Minecart against MO-Gymnasium: transitions from equal states, whole episodes, and the distribution of dug ore."""

import copy
import functools
import itertools

import gymnasium as gym
import jax
import jax.numpy as jnp
import mo_gymnasium as mo_gym
import numpy as np
import pytest
from scipy import stats

import prefront
from prefront.envs.minecart import START_HEADING, State
from prefront.envs.minecart_configuration import CONFIGURATIONS

EPISODES, STEPS = 60, 400
# Uniform actions seldom reach a mine; these drive, stop and dig.
ACTION_PROBABILITIES = (0.2, 0.2, 0.15, 0.25, 0.15, 0.05)


@functools.cache
def experience():
    """Random episodes of MO-Gymnasium: the carts before every step, and what the step answered."""
    theirs = mo_gym.make("minecart-deterministic-v0").unwrapped
    rng = np.random.default_rng(3)
    before, actions, answers, starts = [], [], [], []
    for _ in range(EPISODES):
        theirs.reset()
        starts.append(len(actions))
        for _ in range(STEPS):
            before.append((copy.deepcopy(theirs.cart), theirs.end))
            actions.append(int(rng.choice(6, p=ACTION_PROBABILITIES)))
            answers.append(theirs.step(actions[-1])[:3])
            if theirs.end:
                # Two steps beyond the end: nothing moves any more, but turns and fuel go on.
                for action in rng.integers(0, 6, 2):
                    before.append((copy.deepcopy(theirs.cart), theirs.end))
                    actions.append(int(action))
                    answers.append(theirs.step(int(action))[:3])
                break
    return before, np.array(actions, np.int32), answers, [*starts, len(actions)]


def as_state(cart, ended):
    return State(
        *(np.float32(part) for part in cart.pos),
        *(np.float32(part - np.float32(part)) for part in cart.pos),
        np.float32(cart.speed),
        np.int32(round((cart.angle - 5) / 10)),
        np.asarray(cart.content, np.float32),
        np.bool_(cart.departed),
        np.bool_(ended),
    )


def advance(env, state, action, key):
    after = env.transition(state, action, key)
    return env.observation(after, key), env.reward(state, action, after, key), env.terminal(after, key)


def test_every_transition_equals_mo_gymnasium_from_the_same_state():
    env = prefront.make("MinecartDeterministic-v0")
    before, actions, answers, _ = experience()
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *(as_state(*one) for one in before))
    keys = jax.random.split(jax.random.key(0), len(actions))
    ours = jax.jit(jax.vmap(functools.partial(advance, env)))(states, actions, keys)
    theirs = [np.stack(part) for part in zip(*answers, strict=True)]
    assert len(actions) > 5000
    assert theirs[2].any()
    assert (theirs[1][:, 0] > 0).any()
    equal = (np.abs(ours[0] - theirs[0]).max(axis=1) <= 1e-5) & (ours[2] == theirs[2])
    np.testing.assert_allclose(np.asarray(ours[1])[equal], theirs[1][equal], atol=1e-5)
    # What differs are ties: a cart that leaves a wall and reaches it again within a step, up to 1e-17, or stops on the
    # border of the base, 20 times the acceleration away from its corner.
    at_wall = np.isin(theirs[0][:, :2], (0.0, 1.0)).any(axis=1) & (theirs[0][:, 2] > 0)
    on_border = np.abs(np.hypot(theirs[0][:, 0], theirs[0][:, 1]) - 0.15) < 1e-6
    assert (at_wall | on_border)[~equal].all()
    assert (~equal).mean() < 0.004


def test_whole_episodes_equal_mo_gymnasium_but_for_ties():
    env = prefront.make("MinecartDeterministic-v0")
    _, actions, answers, starts = experience()

    @jax.jit
    def replay(episode):
        def one(state, action):
            return env.transition(state, action, jax.random.key(0)), state

        return jax.lax.scan(one, env.initial(jax.random.key(0)), episode)[1]

    differing = 0
    for start, end in itertools.pairwise(starts):
        states = replay(np.resize(actions[start:end], STEPS + 3))
        theirs = np.stack([answer[0] for answer in answers[start : end - 1]])
        positions = np.stack([states.x, states.y, states.speed], axis=1)[1 : end - start]
        differing += not np.allclose(positions, theirs[:, :3], atol=1e-4)
    assert differing <= 0.1 * EPISODES


def test_truncation_comes_at_the_same_step():
    ours, theirs = gym.make("prefront/MinecartDeterministic-v0"), mo_gym.make("minecart-deterministic-v0")
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for _ in range(1000):
        mine, other = ours.step(5), theirs.step(5)
        assert mine[2:4] == other[2:4]
    assert mine[3]


@pytest.mark.parametrize(("mine", "content"), [(1, (0.0, 0.0)), (2, (0.9, 0.2)), (0, (0.0, 0.0))])
def test_ore_is_dug_from_the_same_distribution(mine, content):
    env = prefront.make("Minecart-v0")
    theirs = mo_gym.make("minecart-v0").unwrapped
    theirs.reset(seed=0)
    draws = 600
    place = CONFIGURATIONS["stochastic"]["mines"][mine]
    start = env.initial(jax.random.key(0))._replace(
        x=jnp.float32(place["x"]), y=jnp.float32(place["y"]), content=jnp.array(content), departed=jnp.bool_(True)
    )
    assert int(start.heading) == START_HEADING
    keys = jax.random.split(jax.random.key(mine), 20 * draws)
    ours = np.asarray(jax.jit(jax.vmap(lambda key: env.transition(start, 0, key).content))(keys))
    np.random.seed(mine)  # noqa: NPY002 (MO-Gymnasium draws from the global generator)
    other = np.empty((draws, 2))
    for i in range(draws):
        theirs.cart.pos, theirs.cart.speed = np.array([place["x"], place["y"]]), 0
        theirs.cart.content, theirs.cart.departed = np.array(content), True
        theirs.step(0)
        other[i] = theirs.cart.content
    assert (ours.sum(axis=1) <= 1.5 + 1e-5).all()
    for ore in range(2):
        assert stats.ks_2samp(ours[:, ore], other[:, ore]).pvalue > 1e-3
        error = np.sqrt(other[:, ore].var() / draws)
        assert abs(ours[:, ore].mean() - other[:, ore].mean()) < 4 * error
        assert abs(ours[:, ore].std() / other[:, ore].std() - 1) < 0.15


def test_own_minecarts():
    config = {
        "capacity": 2,
        "ore_cnt": 3,
        "mines": [{"x": 0.5, "y": 0.5, "distributions": [[0.1, 0.0], [0.0, 0.0], [0.3, 0.0]]}],
    }
    env = prefront.make("Minecart-v0", config=config)
    assert env.reward_dim == 4
    assert env.objective_names == ("ore_1", "ore_2", "ore_3", "fuel")
    state = env.initial(jax.random.key(0))._replace(x=jnp.float32(0.5), y=jnp.float32(0.5))
    dug = env.transition(state, 0, jax.random.key(0)).content
    np.testing.assert_allclose(dug, [0.4, 0.0, 1.2], rtol=1e-6)
    full = env.transition(state._replace(content=dug), 0, jax.random.key(0))
    np.testing.assert_allclose(full.content.sum(), 2.0, rtol=1e-6)
    assert env.observation(full, jax.random.key(0)).shape == (8,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacty": 1.0}, "'capacty'.*capacity"),
        ({"capacity": 0}, "capacity must be positive, got 0"),
        ({"ore_cnt": 3}, "Mine 0 needs 3 pairs"),
        ({"mine_cnt": 4}, "mine_cnt is 4, but 5"),
        ({"mines": [{"x": 0.5, "y": 0.5}]}, "Mine 0 lacks distributions"),
        ({"mines": [{"x": 1.5, "y": 0.5, "distributions": [[1, 0], [1, 0]]}]}, "outside the unit square"),
        ({"mines": [{"x": 0.5, "y": 0.5, "distributions": [[1, 0], [1, -1]]}]}, "Mine 0 needs 2 pairs"),
        ({"ore_colors": [[1, 2, 3]]}, "2 RGB triples"),
    ],
)
def test_bad_configurations_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        prefront.make("Minecart-v0", config={**CONFIGURATIONS["stochastic"], **changes})


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"'determinstic'.*deterministic"):
        prefront.make("Minecart-v0", config="determinstic")
    with pytest.raises(ValueError, match="frame_skip"):
        prefront.make("Minecart-v0", frame_skip=0)
