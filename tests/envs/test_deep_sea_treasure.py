"""Deep sea treasure against MO-Gymnasium, transition by transition."""

import gymnasium as gym
import mo_gymnasium as mo_gym
import numpy as np
import pytest

import prefront


@pytest.mark.parametrize("variant", ["", "Concave", "Mirrored"])
def test_transitions_equal_mo_gymnasium(variant):
    ours = gym.make(f"prefront/DeepSeaTreasure{variant}-v0", disable_env_checker=True)
    theirs = mo_gym.make(f"deep-sea-treasure{'-' + variant.lower() if variant else ''}-v0")
    rng = np.random.default_rng(0)
    for episode in range(20):
        assert np.array_equal(ours.reset(seed=episode)[0], theirs.reset(seed=episode)[0])
        ended = False
        while not ended:
            # Down and right lead into the sea; uniform moves would seldom leave the top.
            action = int(rng.choice(4, p=[0.1, 0.4, 0.1, 0.4]))
            mine, other = ours.step(action), theirs.step(action)
            assert np.array_equal(mine[0], other[0])
            assert mine[1].dtype == np.float32
            assert np.array_equal(mine[1], other[1])
            assert mine[2:4] == other[2:4]
            ended = mine[2] or mine[3]


def test_unknown_map_names_the_nearest():
    with pytest.raises(ValueError, match=r"'concav'.*concave"):
        prefront.make("DeepSeaTreasure-v0", map="concav")
