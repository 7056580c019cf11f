"""General preference embedding: circles that no reward explains, and one model for whatever people compare."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from prefront.preferences.choice import Choice
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Options, Sequences
from prefront.preferences.models.base import NotFittedError, accuracy, cross_entropy
from prefront.preferences.models.general_preference import GeneralPreference
from prefront.preferences.models.partial_return import PartialReturn
from prefront.preferences.segments import Segments
from prefront.preferences.teachers import Teacher


def test_it_learns_a_circle_of_which_bradley_and_terry_learn_nothing():
    """Rock, paper, scissors, as a person's margin: each beats the one before it, so that no score explains answers."""
    beats = 2.0 * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    teacher = Teacher(lambda first, second, person: ((first.values @ beats) * second.values).sum(1), Choice(1.0))
    rng = np.random.default_rng(0)
    rows = rng.integers(3, size=(2, 4000))
    first, second = (Options(np.eye(3)[side]) for side in rows)
    answers, chances = teacher.ask(first, second, rng), teacher.choice_probabilities(first, second)[:, 2]
    np.testing.assert_allclose(chances, expit(beats[tuple(rows)]))
    truth = dataclasses.replace(answers, labels=np.where(chances == 0.5, 0.5, chances > 0.5))
    bradley_terry = PartialReturn().fit(answers)
    assert cross_entropy(bradley_terry, answers) == pytest.approx(np.log(2), abs=2e-3)
    assert accuracy(bradley_terry, truth) < 0.7
    fitted = GeneralPreference(blocks=1).fit(answers, 0)
    assert accuracy(fitted, truth) == 1.0
    # The chance that is right is known: its entropy is the least loss.
    np.testing.assert_allclose(fitted.probability(first, second), chances, atol=0.05)
    entropy = -(chances * np.log(chances) + (1 - chances) * np.log(1 - chances)).mean()
    assert cross_entropy(fitted, answers) == pytest.approx(entropy, abs=0.02)


def sequences(number, rng):
    return Sequences(rng.integers(0, 4, (number, 7)), vocabulary=4)


def segments(number, rng):
    states, actions = np.zeros((number, 5), int), np.zeros((number, 4), int)
    return Segments(states, actions, rng.normal(size=(number, 4, 3)), np.full(number, 4), np.zeros(number, bool))


def options(number, rng):
    return Options(rng.normal(size=(number, 3)))


@pytest.mark.parametrize("items", [options, segments, sequences])
def test_one_model_serves_options_segments_and_sequences(items):
    rng = np.random.default_rng(1)
    first, second = items(800, rng), items(800, rng)
    weights = np.array([2.0, -1.0, 0.5, 1.0])[: first.features().shape[1]]
    liked = (first.features() - second.features()) @ weights
    answers = Comparisons(first, second, rng.random(800) < expit(2 * liked))
    held_out = Comparisons(first, second, np.where(liked == 0, 0.5, liked > 0))[600:]
    model = GeneralPreference(blocks=1, members=2)
    fitted = model.fit(answers[:600], 0)
    assert accuracy(fitted, held_out) > 0.85
    margin = fitted.margin(held_out.first, held_out.second)
    np.testing.assert_allclose(margin, -fitted.margin(held_out.second, held_out.first), atol=1e-5)
    assert np.array_equal(margin, model.fit(answers[:600], 0).margin(held_out.first, held_out.second))
    with pytest.raises(NotFittedError, match="GeneralPreference has not been fitted"):
        model.margin(first, second)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="blocks"):
        GeneralPreference(blocks=0)
    with pytest.raises(ValueError, match="members"):
        GeneralPreference(members=0)
