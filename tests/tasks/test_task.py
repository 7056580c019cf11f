"""What is read off an environment, functional, foreign or wrapped."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import prefront
from prefront.tasks.task import Task


class Plain(gym.Env):
    """States nothing but its spaces."""

    observation_space, action_space = Discrete(2), Discrete(2)

    def __init__(self, objectives=None):
        if objectives:
            self.reward_space = Box(0, 1, (objectives,))


class Stated(gym.Wrapper):
    """Gives another environment a vector reward and what results are compared by."""

    reward_space, discount, reference_point = Box(-1, 1, (3,)), 0.9, np.zeros(3)
    objective_names = ("a", "b", "c")


gym.register("tasks/Plain-v0", Plain)
gym.register("tasks/Wrapped-v0", lambda: Stated(Plain()))


def test_a_functional_environment_states_all():
    task = Task.of("prefront/DeepSeaTreasure-v0")
    assert (task.id, task.discount, task.objective_names) == (
        "prefront/DeepSeaTreasure-v0",
        0.99,
        prefront.make("DeepSeaTreasure-v0").objective_names,
    )
    assert task.environment is not None


def test_a_wrapper_may_state_what_the_environment_lacks():
    task = Task.of("tasks/Wrapped-v0")
    assert task.environment is None
    assert (task.objectives, task.discount, task.objective_names) == (3, 0.9, ("a", "b", "c"))
    assert task.reference_point.tolist() == [0, 0, 0]


def test_what_is_missing_is_named():
    with pytest.raises(TypeError, match="no vector reward"):
        Task.of("tasks/Plain-v0")
    with pytest.raises(ValueError, match="does not state its discount and reference_point"):
        Task.of("mo_gymnasium:resource-gathering-v0")
    with pytest.raises(ValueError, match="length 2, but there are 3"):
        Task.of("tasks/Wrapped-v0", reference_point=[0, 0])
