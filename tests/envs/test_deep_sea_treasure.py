"""Deep sea treasure against MO-Gymnasium, transition by transition."""

import mo_gymnasium as mo_gym
import pytest

import prefront


@pytest.mark.parametrize("variant", ["", "Concave", "Mirrored"])
def test_transitions_equal_mo_gymnasium(replay_finite, variant):
    ours = prefront.make(f"DeepSeaTreasure{variant}-v0")
    theirs = mo_gym.make(f"deep-sea-treasure{'-' + variant.lower() if variant else ''}-v0")
    # Down and right lead into the sea; uniform moves would seldom leave the top.
    assert replay_finite(ours, theirs, 2000, [0.1, 0.4, 0.1, 0.4]) > 20


def test_unknown_map_names_the_nearest():
    with pytest.raises(ValueError, match=r"'concav'.*concave"):
        prefront.make("DeepSeaTreasure-v0", map="concav")
