"""One identity of a task: what is equal agrees in every process, and whatever changes returns is told apart."""

import subprocess
import sys

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import prefront
from prefront.preferences.learned_environment import LearnedRewardWrapper, learned_reward, linear_reward
from prefront.tasks.environment import Environment
from prefront.tasks.finite import FiniteEnvironment
from prefront.tasks.identity import differences, fingerprint
from prefront.tasks.task import Conditions, Task

CELLS = np.zeros((4, 4), np.float32)


class Walk(Environment):
    """A noisy walk on a map of rewards, with a number in its code and one in its map."""

    objective_names, discount, max_episode_steps = ("here", "steps"), 0.9, 20

    def __init__(self, cells=CELLS, chance=0.7, pay=-1.0):
        self.cells, self.chance, self.pay = cells, chance, pay
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 3, (2,), np.int32)
        self.action_space, self.reward_space = gym.spaces.Discrete(4), gym.spaces.Box(-9, 9, (2,), np.float32)
        self.reference_point = np.full(2, -10.0)

    def get_default_params(self, **kwargs):
        return ()

    def initial(self, rng, params=None):
        return jnp.zeros(2, jnp.int32)

    def transition(self, state, action, rng, params=None):
        move = jnp.array([[0, 1], [1, 0], [0, -1], [-1, 0]])[action]
        return jnp.clip(state + move * jax.random.bernoulli(rng, self.chance), 0, 3)

    def observation(self, state, rng, params=None):
        return state

    def reward(self, state, action, next_state, rng, params=None):
        return jnp.stack([jnp.asarray(self.cells)[next_state[0], next_state[1]], self.pay])

    def terminal(self, state, rng, params=None):
        return jnp.bool_(False)


class Coin(FiniteEnvironment):
    """From state 0 to 1 or 2 by chance; forty states further on, one reward."""

    objective_names, discount, max_episode_steps = ("a", "b"), 0.9, 100

    def __init__(self, chance=0.25, far=1.0):
        self.chance, self.far = chance, far
        super().__init__()
        self.observation_space, self.action_space = gym.spaces.Discrete(60), gym.spaces.Discrete(2)
        self.reward_space, self.reference_point = gym.spaces.Box(0, 9, (2,), np.float32), np.zeros(2)

    def get_default_params(self, **kwargs):
        return ()

    def initial_outcomes(self, params=None):
        return jnp.ones(1), jnp.zeros(1, jnp.int32)

    def outcomes(self, state, action, params=None):
        after = jnp.where(action == 0, jnp.zeros(2, jnp.int32), jnp.minimum(state + jnp.arange(1, 3), 59))
        return jnp.array([self.chance, 1 - self.chance]), after.astype(jnp.int32)

    def observation(self, state, rng, params=None):
        return state

    def reward(self, state, action, next_state, rng, params=None):
        return jnp.where(next_state == 55, self.far, 0.0) * jnp.ones(2)

    def terminal(self, state, rng, params=None):
        return state == 59


def one_cell(place):
    cells = CELLS.copy()
    cells[place] = 1.0
    return cells


def test_equal_environments_agree_and_one_cell_chance_or_reward_tells_them_apart():
    same = fingerprint(Walk())
    assert same == fingerprint(Walk(chance=0.7 + 1e-9))
    others = [Walk(one_cell((3, 3))), Walk(one_cell((0, 1))), Walk(chance=0.71), Walk(pay=-1.01)]
    assert len({same, *map(fingerprint, others)}) == 5
    coins = [Coin(), Coin(chance=0.26), Coin(far=1.001)]
    assert len(set(map(fingerprint, coins))) == 3
    assert fingerprint(Coin()) == fingerprint(coins[0])


def test_rewards_of_two_persons_are_two_tasks():
    weights = np.array([[1.0, 0.5]])
    of = lambda rows: fingerprint(learned_reward(Walk(), linear_reward(rows)))  # noqa: E731
    assert of(weights) == of(weights.copy())
    # Nothing is ever found on this map, so that no step shows the other person's weight.
    assert of(weights) != of(np.array([[1.1, 0.5]]))


def test_ids_of_ours_need_no_fingerprint_and_differ_by_their_arguments():
    one, other = (Task.of(prefront.make("DeepSeaTreasure-v0", **kwargs)) for kwargs in ({}, {"map": "concave"}))
    assert one.fingerprint == other.fingerprint == ""
    assert differences(one.identity(), one.identity()) == ""
    assert differences(other.identity(), one.identity()).startswith("kwargs: {'map': 'concave'} and {}")
    assert Conditions.of("prefront/DeepSeaTreasure-v0") == one.conditions()


class Track(gym.Env):
    """Five steps along a line."""

    def __init__(self, pay=1.0, seedless=False):
        self.pay, self.seedless = pay, seedless
        self.observation_space, self.action_space = gym.spaces.Box(-9, 9, (1,)), gym.spaces.Discrete(2)
        self.reward_space = gym.spaces.Box(-9, 9, (2,))
        self.discount, self.reference_point, self.objective_names = 0.9, np.zeros(2), ("a", "b")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0.0
        return np.array([self.at], np.float32), {}

    def step(self, action):
        noise = np.random.default_rng().random() if self.seedless else 0.0
        self.at += action
        return np.array([self.at + noise], np.float32), np.array([self.pay, self.at]), self.at >= 5, False, {}


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        (lambda: Track(), lambda: Track(), True),
        (lambda: Track(), lambda: Track(pay=1.1), False),
        (lambda: Track(seedless=True), lambda: Track(seedless=True), True),
        (
            lambda: LearnedRewardWrapper(Track(), linear_reward([[1.0, 2.0]]), ("ann",)),
            lambda: LearnedRewardWrapper(Track(), linear_reward([[1.0, 2.1]]), ("ann",)),
            False,
        ),
    ],
)
def test_environments_on_the_host_are_told_apart_by_what_they_do(first, second, agree):
    found = []
    for make in (first, second):
        gym.register("identity/Track-v0", entry_point=lambda make=make: make())
        found.append(fingerprint(gym.make("identity/Track-v0")))
        del gym.registry["identity/Track-v0"]
    assert (found[0] == found[1]) is agree


def test_a_specification_in_plain_text_is_enough_and_its_arguments_count():
    entry, found = f"{__name__}:Track", []
    for kwargs in ({}, {"pay": 2.0}, {}):
        gym.register("identity/Plain-v0", entry_point=entry, kwargs=kwargs)
        made = gym.make("identity/Plain-v0")
        made.step = made.reset = None  # nothing is stepped
        found.append(fingerprint(made))
        del gym.registry["identity/Plain-v0"]
    assert found[0] == found[2] != found[1]


def test_other_processes_find_the_same_fingerprint():
    code = "from test_identity import *; print(fingerprint(Walk()), fingerprint(Coin()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=__file__.rpartition("/")[0], capture_output=True, text=True, check=True,
        env={**__import__("os").environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.stdout.split() == [fingerprint(Walk()), fingerprint(Coin())]
