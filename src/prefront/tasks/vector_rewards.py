"""The check of rewards from environments that are not ours, wherever one is read."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


def stated_reward_space(environment: gym.Env[Any, Any]) -> Any:
    """Returns an environment's `reward_space`, that of its outermost wrapper that has one, or None."""
    return environment.get_wrapper_attr("reward_space") if environment.has_wrapper_attr("reward_space") else None


def checked_reward(reward: Any, environment: Any, space: Any, num_envs: int | None = None) -> np.ndarray:
    """Returns a vector reward, or one for each of several environments, float64.

    Args:
        reward: What `step` returned.
        environment: What to call the environment in a message.
        space: Its `reward_space`; None where it states none, then any vector will do.
        num_envs: Number of environments of a vector environment; None for a single one.

    Raises:
        TypeError: The reward does not have the shape of the space, or is not made of numbers.
    """
    try:
        vector = np.asarray(reward, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{environment} gave the reward {reward!r}, which is no vector of numbers.") from None
    lead = () if num_envs is None else (num_envs,)
    wanted = (*lead, *(vector.shape[-1:] if space is None else space.shape))
    if vector.shape != wanted or vector.ndim != len(lead) + 1:
        asked = "a vector reward is needed" if space is None else f"its reward_space is {space}"
        raise TypeError(f"{environment} gave the reward {reward!r} of shape {vector.shape}, but {asked}.")
    return vector
