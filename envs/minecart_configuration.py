"""Which minecarts there are: where the mines lie, what they hold, and how much the cart carries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefront.system.checks import nearest_names

CONFIGURATION_KEYS = ("capacity", "ore_cnt", "mine_cnt", "mines", "ore_colors")
PLACES = ((0.16, 0.84), (0.5, 0.84), (0.84, 0.84), (0.84, 0.5), (0.84, 0.16))
ORE_MEANS = ((0.2, 0.0), (0.15, 0.1), (0.2, 0.2), (0.1, 0.15), (0.0, 0.2))


def check_configuration(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a minecart configuration as a plain dict.

    Args:
        config: Mapping with the keys of MO-Gymnasium's JSON files, see `Minecart`.

    Raises:
        ValueError: A key is unknown or missing, or a value is out of range; the message names it.
    """
    for key in config:
        if key not in CONFIGURATION_KEYS:
            raise ValueError(f"No minecart setting {key!r}. {nearest_names(key, list(CONFIGURATION_KEYS))}")
    for key in ("capacity", "ore_cnt", "mines"):
        if key not in config:
            raise ValueError(f"The minecart configuration lacks {key!r}.")
    capacity, ores, mines = config["capacity"], config["ore_cnt"], list(config["mines"])
    if not (math.isfinite(capacity) and capacity > 0):
        raise ValueError(f"capacity must be positive, got {capacity!r}.")
    if ores != int(ores) or ores < 1:
        raise ValueError(f"ore_cnt must be a whole number of at least 1, got {ores!r}.")
    if not mines or config.get("mine_cnt", len(mines)) != len(mines):
        raise ValueError(f"mine_cnt is {config.get('mine_cnt', 1)!r}, but {len(mines)} mines are given.")
    colours = config.get("ore_colors")
    if colours is not None and np.shape(colours) != (ores, 3):
        raise ValueError(f"ore_colors must hold {ores} RGB triples, got {colours!r}.")
    for i, mine in enumerate(mines):
        missing = {"x", "y", "distributions"} - set(mine)
        if missing:
            raise ValueError(f"Mine {i} lacks {', '.join(sorted(missing))}.")
        if not (0 <= mine["x"] <= 1 and 0 <= mine["y"] <= 1):
            raise ValueError(f"Mine {i} lies at ({mine['x']}, {mine['y']}), outside the unit square.")
        pairs = mine["distributions"]
        if np.shape(pairs) != (ores, 2) or not np.isfinite(pairs).all() or np.min(pairs, axis=0)[1] < 0:
            raise ValueError(f"Mine {i} needs {ores} pairs of mean and standard deviation (>= 0), got {pairs!r}.")
    return {"capacity": float(capacity), "ore_cnt": int(ores), "mines": mines, "ore_colors": colours}


def _published(deviation: float) -> dict[str, Any]:
    return {
        "capacity": 1.5,
        "ore_cnt": 2,
        "mines": [
            {"x": x, "y": y, "distributions": [[mean, deviation] for mean in means]}
            for (x, y), means in zip(PLACES, ORE_MEANS, strict=True)
        ],
    }


CONFIGURATIONS = {"stochastic": _published(0.05), "deterministic": _published(0.0)}
