"""Query selection against closed forms, and what it is worth against asking at random."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from prefront.envs.delivery import Delivery
from prefront.preferences.choice import Choice, Linear
from prefront.preferences.queries import SELECTORS, entropy
from prefront.preferences.segment_scores import segment_margin
from prefront.preferences.segments import sample_segments
from prefront.preferences.teachers import Teacher

# Two members: both sure and agreed, both unsure, sure and opposed, slightly apart.
ENSEMBLE = np.array([[1.0, 0.5, 1.0, 0.6], [1.0, 0.5, 0.0, 0.4]])


def test_disagreement_and_information_gain_choose_what_members_dispute():
    rng = np.random.default_rng(0)
    for name in ("disagreement", "information_gain"):
        assert list(SELECTORS[name](ENSEMBLE, 2, rng)) == [2, 3]


def test_information_gain_tells_noise_from_doubt():
    """Equal variances, but only one member's doubt can be resolved."""
    ensemble = np.array([[0.5, 0.9], [0.5, 0.1], [0.9, 0.5], [0.1, 0.5]])[:, [0, 1]]
    gain = entropy(ensemble.mean(0)) - entropy(ensemble).mean(0)
    by_hand = 1 - (1 + 1 + 2 * -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))) / 4
    assert np.allclose(gain, by_hand)
    sharper = np.array([[0.7, 1.0], [0.3, 0.6]])
    assert list(SELECTORS["disagreement"](sharper, 2, np.random.default_rng(1))) in ([0, 1], [1, 0])
    assert list(SELECTORS["information_gain"](sharper, 1, np.random.default_rng(1))) == [1]


def test_entropy_in_bits():
    assert np.allclose(entropy(np.array([0.0, 0.5, 1.0, 0.25])), [0, 1, 0, 2 - 0.75 * np.log2(3)])


def test_uniform_chooses_everything_equally_often_without_repetition():
    rng = np.random.default_rng(0)
    chosen = np.array([SELECTORS["uniform"](np.zeros((1, 5)), 2, rng) for _ in range(5000)])
    assert (chosen[:, 0] != chosen[:, 1]).all()
    counts = np.bincount(chosen.ravel())
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.6)


@pytest.mark.parametrize("name", ["disagreement", "information_gain"])
def test_ties_are_broken_at_random(name):
    rng = np.random.default_rng(0)
    firsts = {int(SELECTORS[name](np.full((3, 6), 0.5), 1, rng)[0]) for _ in range(100)}
    assert firsts == set(range(6))


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_bad_input_is_named(name):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"member 0, pair 2: .* got 1.5"):
        SELECTORS[name](np.array([[0.1, 0.2, 1.5]]), 1, rng)
    with pytest.raises(ValueError, match="number must lie in 1 to 4, got 9"):
        SELECTORS[name](ENSEMBLE, 9, rng)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        SELECTORS[name](np.zeros(4), 1, rng)


def bits_learned(selector, seed, questions=15):
    """Asks a noisy person about a few of many pairs; returns what the exact posterior has gained on the truth.

    The prior is uniform on 2,000 rewards, of which one is true; the members are draws from the posterior.
    """
    rng = np.random.default_rng(seed)
    mdp = Delivery().table()
    rewards = rng.normal(size=(2000, 6))
    rewards *= 3 / np.linalg.norm(rewards, axis=1, keepdims=True)
    first, second = (sample_segments(mdp, 300, 5, rng, absorbing=True) for _ in range(2))
    teacher = Teacher(segment_margin("partial_return", Linear(rewards[0])), Choice(1.0))
    differences = first.features() - second.features()
    belief, left = np.full(2000, 1 / 2000), np.arange(300)
    for _ in range(questions):
        members = rewards[rng.choice(2000, 200, p=belief)]
        (chosen,) = SELECTORS[selector](expit(members @ differences[left].T), 1, rng)
        pair = left[[chosen]]
        (answer,) = teacher.ask(first[pair], second[pair], rng).labels
        belief = belief * expit((2 * answer - 1) * (rewards @ differences[pair[0]]))
        belief /= belief.sum()
        left = np.delete(left, chosen)
    return np.log2(2000 * belief[0])


def test_asking_what_members_dispute_teaches_more_than_asking_at_random():
    found = {name: np.array([bits_learned(name, seed) for seed in range(20)]) for name in SELECTORS}
    for name in ("disagreement", "information_gain"):
        assert stats.wilcoxon(found[name], found["uniform"], alternative="greater").pvalue < 0.01
        assert np.mean(found[name] - found["uniform"]) > 1
