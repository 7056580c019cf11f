"""The table of environment ids, and what turns an id into an environment. Imports neither jax nor any environment."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from prefront.system.checks import nearest_names

if TYPE_CHECKING:
    from prefront.tasks.environment import AnyEnvironment, Environment

# What a stored id may name in front of its colon, imported or not.
KNOWN_MODULES = ("", "prefront", "gymnasium", "mo_gymnasium")


@dataclasses.dataclass(frozen=True)
class EnvironmentEntry:
    """One registered environment.

    Attributes:
        id: Gymnasium id, `prefront/NAME-vN`.
        path: `module:Class` of the functional environment.
        max_episode_steps: The episode limit, enforced by truncation; None where every episode ends by itself.
        summary: One line for `prefront list`.
        kwargs: Constructor arguments that make this variant.
    """

    id: str
    path: str
    max_episode_steps: int | None
    summary: str
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)


ENVIRONMENTS: dict[str, EnvironmentEntry] = {
    entry.id: entry
    for entry in (
        EnvironmentEntry(
            "prefront/DeepSeaTreasure-v0",
            "prefront.envs.deep_sea_treasure:DeepSeaTreasure",
            100,
            "2 objectives: treasure, time; convex front of 10 points",
        ),
        EnvironmentEntry(
            "prefront/DeepSeaTreasureConcave-v0",
            "prefront.envs.deep_sea_treasure:DeepSeaTreasure",
            100,
            "2 objectives: treasure, time; concave front that no linear weights reach",
            {"map": "concave"},
        ),
        EnvironmentEntry(
            "prefront/DeepSeaTreasureMirrored-v0",
            "prefront.envs.deep_sea_treasure:DeepSeaTreasure",
            100,
            "2 objectives: treasure, time; the concave front on a wider map with an empty half",
            {"map": "mirrored"},
        ),
        EnvironmentEntry(
            "prefront/Minecart-v0",
            "prefront.envs.minecart:Minecart",
            1000,
            "3 objectives: two ores, fuel; noisy mining; best known front",
        ),
        EnvironmentEntry(
            "prefront/MinecartDeterministic-v0",
            "prefront.envs.minecart:Minecart",
            1000,
            "3 objectives: two ores, fuel; best known front",
            {"config": "deterministic"},
        ),
        EnvironmentEntry(
            "prefront/FruitTree-v0",
            "prefront.envs.fruit_tree:FruitTree",
            None,
            "6 objectives: nutrients of a leaf; 64 leaves at depth 6, each of them Pareto-optimal",
        ),
        EnvironmentEntry(
            "prefront/ResourceGathering-v0",
            "prefront.envs.resource_gathering:ResourceGathering",
            100,
            "3 objectives: safety, gold, diamond; enemies strike at random",
        ),
        EnvironmentEntry(
            "prefront/FourRoom-v0",
            "prefront.envs.four_room:FourRoom",
            200,
            "3 objectives: kinds of items gathered on the way to a goal; hundreds of Pareto points",
        ),
        EnvironmentEntry(
            "prefront/BreakableBottles-v0",
            "prefront.envs.breakable_bottles:BreakableBottles",
            100,
            "3 objectives: time, bottles, impact; haste makes waste at random",
        ),
        EnvironmentEntry(
            "prefront/MOMountainCar-v0",
            "prefront.envs.mountain_car:MOMountainCar",
            200,
            "3 objectives: time, reverse and forward thrust; continuous states, best known front",
        ),
        EnvironmentEntry(
            "prefront/Delivery-v0",
            "prefront.envs.delivery:Delivery",
            1000,
            "6 features: gas, goal, sheep, coin, roadblock, mud; the task of published human preferences",
        ),
        EnvironmentEntry(
            "prefront/RandomDelivery-v0",
            "prefront.envs.random_delivery:RandomDelivery",
            1000,
            "6 features of delivery; random maps, deterministic or stochastic, for studies of preferences",
        ),
        EnvironmentEntry(
            "prefront/TokenWorld-v0",
            "prefront.envs.token_world:TokenWorld",
            None,
            "K objectives: learned reward models of token sequences; exact optima, gold kept apart",
        ),
    )
}


def register_environments() -> None:
    """Registers every id of `ENVIRONMENTS` with Gymnasium, by string entry points, once."""
    for entry in ENVIRONMENTS.values():
        if entry.id not in gym.registry:
            gym.register(
                entry.id,
                entry_point="prefront.tasks.gymnasium_api:make_single",
                vector_entry_point="prefront.tasks.gymnasium_api:make_vector",
                max_episode_steps=entry.max_episode_steps,
                kwargs={"entry": entry.id, **entry.kwargs},
            )


def load(path: str) -> type[Environment]:
    """Imports the class behind a `module:Class` path."""
    module, _, name = path.partition(":")
    loaded: type[Environment] = getattr(importlib.import_module(module), name)
    return loaded


def make(id: str, **kwargs: Any) -> Environment:
    """Makes the functional JAX environment behind one of our ids.

    Args:
        id: A Gymnasium id of ours, with or without the `prefront/` prefix.
        **kwargs: Constructor arguments, which override those of the id.

    Returns:
        The functional environment, whose functions compose with `jax.jit` and `jax.vmap`.

    Raises:
        KeyError: No environment of ours has this id; the message names the nearest ones.
    """
    full = id if id.startswith("prefront/") else f"prefront/{id}"
    if full not in ENVIRONMENTS:
        raise KeyError(f"No prefront environment {id!r}. {nearest_names(full, list(ENVIRONMENTS))}")
    entry = ENVIRONMENTS[full]
    environment = load(entry.path)(**{**entry.kwargs, **kwargs})
    environment.id, environment.kwargs = full, kwargs
    return environment


def make_environment(id: str, **kwargs: Any) -> AnyEnvironment:
    """Makes an environment by its id: the functional one where it is ours, otherwise the Gymnasium one.

    Ids of MO-Gymnasium are known without importing it, and so are ids of the form `module:name`.

    Raises:
        KeyError: No environment has this id; the message names the nearest ones.
    """
    ours = id if id.startswith("prefront/") else f"prefront/{id}"
    if ours in ENVIRONMENTS:
        return make(id, **kwargs)
    if ":" not in id and id not in gym.registry:
        import mo_gymnasium  # noqa: F401 (registers its ids)

        if id not in gym.registry:
            raise KeyError(f"No environment {id!r}. {nearest_names(id, list(gym.registry))}")
    return gym.make(id, disable_env_checker=True, **kwargs)


def make_stored_environment(id: str, kwargs: Mapping[str, Any]) -> AnyEnvironment:
    """Makes the environment that a file names, which must not choose what is imported or called.

    Ours are made with their arguments. Any other one must be registered with Gymnasium and is made without arguments:
    what those would do is not known here. An id of the form `module:name` imports nothing.

    Raises:
        ValueError: The id or its arguments cannot be trusted to a file; the message says what to do.
    """
    module, _, name = id.rpartition(":")
    full = name if name.startswith("prefront/") else f"prefront/{name}"
    if module in KNOWN_MODULES and full in ENVIRONMENTS:
        return make(full, **kwargs)
    advice = "make the environment yourself and pass it as `environment`"
    if kwargs:
        raise ValueError(
            f"{id!r} is no environment of Prefront, and is stored with arguments {dict(kwargs)}: {advice}."
        )
    if module not in KNOWN_MODULES and (module not in sys.modules or name not in gym.registry):
        raise ValueError(f"{id!r} names a module, which is not imported because a file says so: {advice}.")
    return make_environment(name)
