"""Options and sequences: what a model sees of them, and that wrong ones are refused by row."""

import dataclasses

import jax
import numpy as np
import pytest

from prefront.preferences.items import Options, Sequences

TOKENS = np.array([[3, 0, 2, 2], [1, 1, 1, 0]])


def test_options_show_their_values_and_products_with_their_context():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert np.array_equal(Options(values).features(), values)
    seen = Options(values, np.array([[10.0], [0.0]])).features()
    assert np.array_equal(seen, [[1, 2, 10, 20], [3, 4, 0, 0]])


def test_sequences_show_how_often_each_token_was_written():
    sequences = Sequences(TOKENS, vocabulary=3)
    assert np.array_equal(sequences.features(), [[1, 0, 2], [1, 2, 0]])
    assert np.array_equal(sequences.features(0.5), [[1, 0, 0.75], [0.25, 1.5, 0]])
    padded = Sequences(np.where([[1, 1, 0, 0]], TOKENS, 99), np.array([[True, False, False]] * 2), vocabulary=3)
    assert np.array_equal(padded.checked().features(), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("items", [Options(np.eye(4)), Sequences(np.zeros((4, 3), int), vocabulary=2)])
def test_items_are_pytrees_that_are_cut_and_joined(items):
    assert len(items) == 4
    part = jax.jit(lambda given: given[np.array([2, 0])])(items)
    assert np.array_equal(part.features(), items.features()[[2, 0]])
    joined = type(items).concatenate([items[:1], items[1:]])
    assert np.array_equal(joined.checked().features(), items.features())


def test_wrong_items_are_named_by_row():
    with pytest.raises(ValueError, match=r"options: row 1 has values \[nan\]"):
        Options([[1.0], [np.nan]]).checked()
    with pytest.raises(ValueError, match=r"context must have shape \(2, numbers\), got \(1, 1\)"):
        Options(np.eye(2), [[1.0]]).checked()
    with pytest.raises(ValueError, match=r"row 0, place 2: tokens must lie in \[0, 2\), got 2"):
        Sequences(np.minimum(TOKENS, 2), vocabulary=2).checked()
    with pytest.raises(ValueError, match=r"tokens must be integers"):
        Sequences(TOKENS / 2, vocabulary=3).checked()
    with pytest.raises(ValueError, match=r"mask must have shape \(2, 3\), got \(2, 4\)"):
        Sequences(TOKENS, TOKENS > 0, vocabulary=3).checked()
    with pytest.raises(ValueError, match=r"one kind.*'vocabulary': 3.*'vocabulary': 4"):
        three = Sequences(TOKENS, vocabulary=3)
        Sequences.concatenate([three, dataclasses.replace(three, vocabulary=4)])
