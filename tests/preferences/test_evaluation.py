"""Learned rewards are judged by exact returns, for one reward and for a population."""

import numpy as np
import pytest

from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.preferences.choice import Linear
from prefront.preferences.evaluation import evaluate_model, evaluate_reward, person_regrets
from prefront.preferences.models.base import fit_persons
from prefront.preferences.models.partial_return import PartialReturn
from prefront.preferences.models.regret import SuccessorFeatureRegret
from prefront.preferences.segment_scores import segment_margin
from prefront.preferences.segments import sample_segments
from prefront.preferences.successor_sets import random_reward_features
from prefront.preferences.teachers import Teacher

TABLE = Delivery().table()


def test_evaluation_of_rewards_policies_and_persons():
    quality = evaluate_reward(
        TABLE, np.stack([PUBLISHED_WEIGHTS, 3 * PUBLISHED_WEIGHTS, -PUBLISHED_WEIGHTS]), PUBLISHED_WEIGHTS
    )
    assert np.allclose(quality.scaled_return[:2], 1)
    assert quality.scaled_return[2] < 0
    assert list(quality.near_optimal) == [True, True, False]
    rng = np.random.default_rng(0)
    first, second = (sample_segments(TABLE, 50, 3, rng, absorbing=True) for _ in range(2))
    held = Teacher(segment_margin("partial_return", Linear(PUBLISHED_WEIGHTS))).ask(first, second, rng)
    both = evaluate_model(PartialReturn(weights=PUBLISHED_WEIGHTS), TABLE, PUBLISHED_WEIGHTS, held_out=held)
    assert both.scaled_return == pytest.approx(1)
    assert both.accuracy == 1
    with pytest.raises(ValueError, match="not finite"):
        evaluate_reward(TABLE, np.full(6, np.nan), PUBLISHED_WEIGHTS)
    people = np.array([PUBLISHED_WEIGHTS, -PUBLISHED_WEIGHTS])
    assert np.allclose(person_regrets(TABLE, people, people), 0, atol=1e-9)
    swapped = person_regrets(TABLE, people[::-1], people)
    assert (swapped > 10).all()


def test_each_person_gets_their_own_reward():
    people = np.array([PUBLISHED_WEIGHTS, PUBLISHED_WEIGHTS * [1, -1, 1, 1, 1, 1], [-1.0, 1, -1, 5, -1, -2]])
    rng = np.random.default_rng(0)
    first, second = (sample_segments(TABLE, 900, 3, rng, absorbing=True) for _ in range(2))
    teacher = Teacher(segment_margin("deterministic_regret", Linear(people), mdp=TABLE), names=("ann", "bob", "coe"))
    dataset = teacher.ask(first, second, rng)
    features = random_reward_features(TABLE, np.random.default_rng(1))
    model = SuccessorFeatureRegret(TABLE, features)
    own = fit_persons(model, dataset)
    assert list(own) == ["ann", "bob", "coe"]
    learned = np.array([one.weights for one in own.values()])
    together = model.fit(dataset).weights
    ours, common = person_regrets(TABLE, learned, people), person_regrets(TABLE, together, people)
    assert ours.sum() < 0.3 * common.sum()
