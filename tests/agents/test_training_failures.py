"""What is not finite stops training by name; what was stored before goes on as if nothing had been ill."""

from functools import partial

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import prefront
from prefront.agents import cmorl
from prefront.agents.cmorl import CMORLConfig, train
from prefront.learning.learner_config import LearnerConfig
from prefront.pareto.archive import Archive
from prefront.policies.front import Front
from prefront.system.failures import TrainingFailure
from prefront.system.files import load_arrays
from prefront.tasks.environment import Environment

LEARNER = LearnerConfig(network="mlp", num_envs=2, steps=8, hidden=(4,), epochs=1)
CONFIG = CMORLConfig(
    learner=LEARNER,
    population=2,
    total_steps=2 * 2 * 8 * 8,
    updates_per_evaluation=1,
    extension_updates=1,
    checkpoint_evaluations=2,
)


def same(first, second):
    assert np.array_equal(first.solution.returns, second.solution.returns)
    for a, b in zip(
        jax.tree.leaves(first.solution.parameters), jax.tree.leaves(second.solution.parameters), strict=True
    ):
        assert np.array_equal(a, b)
    assert all(
        np.array_equal(first.history[name], second.history[name], equal_nan=True) for name in first.history.columns
    )


def stops_and_goes_on(run, quantity, name, folder):
    """`run(ill, folder)` trains in one environment that is well or ill."""
    whole = run(False, None)
    named = rf"{name}, learner [01]: the {quantity} is not finite in evaluation [3-8] \(after \d+ steps of training\)"
    for _ in range(2):
        with pytest.raises(TrainingFailure, match=named) as caught:
            run(True, folder)
        failure = caught.value
        assert (failure.quantity, failure.environment) == (quantity, name)
        assert str(failure.checkpoint) in str(failure)
        stored, _ = load_arrays(failure.checkpoint)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stored["archive"]))
        assert np.isfinite(stored["history"]["hypervolume"]).all()
    same(whole, run(False, folder))
    return whole


class Line(Environment):
    """A walk on a line: the state is the place, and what each step pays beside."""

    id, objective_names, discount, max_episode_steps = "tests/Line-v0", ("up", "down"), 0.9, 6

    def __init__(self):
        super().__init__()
        self.observation_space, self.action_space = gym.spaces.Box(-9, 9, (1,)), gym.spaces.Discrete(2)
        self.reward_space, self.reference_point = gym.spaces.Box(-1, 1, (2,)), np.full(2, -9.0)

    def get_default_params(self, **kwargs):
        return ()

    def initial(self, rng, params=None):
        return jnp.zeros(2)

    def transition(self, state, action, rng, params=None):
        return state + jnp.stack([2.0 * action - 1.0, 0.0])

    def observation(self, state, rng, params=None):
        return state[:1] / 9

    def reward(self, state, action, next_state, rng, params=None):
        return jnp.stack([1.0 * action, 1.0 - action]) + state[1]

    def terminal(self, state, rng, params=None):
        return jnp.bool_(False)


def test_inside_compiled_programs(tmp_path, monkeypatch):
    make, made = cmorl._trainer, []

    def run_with(place, value, ill, folder, at=4):
        class Struck:
            """The same compiled trainer; from one evaluation on a state is ill."""

            def __init__(self, *arguments):
                made.extend([] if made else [make(*arguments)])

            def advance(self, population, schedule):
                if ill and int(population.iteration) >= 2 * at:  # One for the update, one for the evaluation.
                    population = population._replace(env_state=population.env_state._replace(
                        state=jnp.asarray(population.env_state.state).at[1, 0, place].set(value)
                    ))  # fmt: skip
                return made[0].advance(population, schedule)

            def __getattr__(self, name):
                return getattr(made[0], name)

        monkeypatch.setattr(cmorl, "_trainer", Struck)
        return train(Line(), CONFIG, 0, checkpoint=folder)

    for quantity, value in (("observation", np.nan), ("reward", np.inf)):
        run = partial(run_with, ("observation", "reward").index(quantity), value)
        front = stops_and_goes_on(run, quantity, "tests/Line-v0", tmp_path / quantity).solution
    with pytest.raises(TrainingFailure, match=r"learner 1: the reward is not finite.*No state from"):
        run(True, tmp_path / "none", at=0)

    for value in (np.nan, np.inf):
        bad = jax.tree.map(lambda leaf, value=value: np.full_like(leaf, value), front.parameters)
        with pytest.raises(ValueError, match=r"Parameters .* of policy 0 are not finite"):
            Front.of(front.network, bad, front.returns, front.conditions)


class Sensor(gym.Env):
    """The same walk on the host; one step of all that are taken shows or pays `value`."""

    observation_space, action_space = gym.spaces.Box(-9, 9, (1,), np.float32), gym.spaces.Discrete(2)
    reward_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    discount, reference_point, objective_names = 0.9, np.full(2, -9.0), ("up", "down")
    taken, struck, quantity, value = 0, -1, "", 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Sensor.taken += 1
        self.at, self.time = self.at + 2 * int(action) - 1, self.time + 1
        seen, paid = np.array([self.at / 9], np.float32), np.array([action, 1 - action], np.float32)
        if Sensor.taken == Sensor.struck:
            (seen if Sensor.quantity == "observation" else paid)[0] = Sensor.value
        return seen, paid, False, self.time == 6, {}


gym.register("tests/Sensor-v0", f"{__name__}:Sensor")


@pytest.mark.parametrize("quantity", ["observation", "reward"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_on_the_host(quantity, value, tmp_path):
    def set_to(struck):
        Sensor.taken, Sensor.struck, Sensor.quantity, Sensor.value = 0, struck, quantity, value
        return "tests/Sensor-v0"

    # Three evaluations take 3 * (32 + 12) steps; what goes on from the state of two meets it sooner.
    struck = iter([140, 40])

    def run(ill, folder):
        return train(set_to(next(struck) if ill else -1), CONFIG, 0, checkpoint=folder)

    stops_and_goes_on(run, quantity, "tests/Sensor-v0", tmp_path)


def test_no_policy_that_is_not_finite_enters_an_archive():
    archive = Archive(2)
    archive.insert(np.array([[1.0, 0.0]]), lambda i: {"w": np.zeros(1)})
    for returns, weights in (([[0.0, 1.0]], [np.nan]), ([[0.0, np.inf]], [0.0])):
        with pytest.raises(ValueError, match="Candidate 0"):
            archive.insert(np.array(returns), lambda i, weights=weights: {"w": np.array(weights)})
    assert archive.returns.tolist() == [[1.0, 0.0]]
    assert len(archive) == 1


def test_a_checkpoint_of_another_map_is_refused_by_the_argument_that_differs(tmp_path):
    train(prefront.make("DeepSeaTreasure-v0", map="concave"), CONFIG, 0, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"another run .*kwargs: \{'map': 'concave'\} and \{\}\."):
        train(prefront.make("DeepSeaTreasure-v0"), CONFIG, 0, checkpoint=tmp_path)
