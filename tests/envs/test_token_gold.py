"""Annotators of token worlds: on the host the same people as in compiled programs, whom anybody can ask."""

import jax
import numpy as np
import pytest

from prefront.envs.token_gold import annotators, compare, gold_attributes
from prefront.envs.token_task import sample_pairs
from prefront.envs.token_world import TokenWorldSettings, make_world
from prefront.preferences.choice import answer_probabilities
from prefront.preferences.items import Sequences
from prefront.preferences.teachers import Teacher, utility_margin

SMALL = TokenWorldSettings(vocabulary=6, length=5, pairs=50, calibration_samples=500)


@pytest.fixture(scope="module")
def asked():
    world = make_world(SMALL, 0)
    pairs = sample_pairs(jax.random.key(1), world.reference, SMALL.length, (2, 300))
    return world, pairs, [[Sequences(np.asarray(one), vocabulary=6) for one in side] for side in pairs]


def test_annotators_choose_on_the_host_as_in_a_compiled_program(asked):
    world, pairs, (first, second) = asked
    teacher = annotators(world.evaluation, 3.0, 0.1)
    answers = jax.jit(compare)(jax.random.key(2), world.evaluation, *pairs, 3.0, 0.1)
    for k in range(2):
        chances = teacher.choice_probabilities(first[k], second[k], person=k)
        liked, other = (np.asarray(gold_attributes(world.evaluation, side[k].tokens))[:, k] for side in (first, second))
        np.testing.assert_allclose(chances, answer_probabilities(liked - other, 3.0, mistakes=0.1), atol=1e-5)
        # Compiled answers are draws from the same chances.
        error = np.sqrt((chances[:, 2] * chances[:, 0]).sum())
        assert abs((answers.labels[k] - chances[:, 2]).sum()) < 4 * error
    told = teacher.ask(first[0], second[0], np.random.default_rng(0))
    assert told.names == answers.names == ("annotator 1", "annotator 2")


def test_one_who_knows_gold_is_a_teacher_too(asked):
    world, _, (first, second) = asked
    teacher = Teacher(utility_margin(lambda sequences, person: world.gold(sequences.tokens)))
    golds = [np.asarray(world.gold(side[0].tokens)) for side in (first, second)]
    labels = teacher.ask(first[0], second[0], np.random.default_rng(0)).labels
    assert np.array_equal(labels, (np.sign(golds[0] - golds[1]) + 1) / 2)
