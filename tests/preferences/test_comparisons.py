"""Datasets: round trips, merging, splitting, and refusal of whatever is wrong, by row and value."""

import dataclasses

import jax
import numpy as np
import pytest

from prefront.envs.delivery import PUBLISHED_WEIGHTS, Delivery
from prefront.preferences.choice import Linear
from prefront.preferences.comparisons import Comparisons, load_comparisons, merge
from prefront.preferences.items import Options, Sequences
from prefront.preferences.segment_scores import segment_margin
from prefront.preferences.segments import sample_segments
from prefront.preferences.teachers import Teacher
from prefront.system.files import DamagedFileError, load_arrays, save_arrays

TABLE = Delivery().table()


def answered(names=("ann", "bob"), seed=0, length=3, number=60, absorbing=False):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(len(names), 6)) + PUBLISHED_WEIGHTS
    first, second = (sample_segments(TABLE, number, length, rng, absorbing=absorbing) for _ in range(2))
    return Teacher(segment_margin("partial_return", Linear(weights)), names=names).ask(first, second, rng)


def same(one, other):
    for field in ("states", "actions", "rewards", "lengths", "ended"):
        for pair in ((one.first, other.first), (one.second, other.second)):
            assert np.array_equal(*(getattr(segments, field) for segments in pair))
    assert one.first.absorbing == other.first.absorbing
    assert np.array_equal(one.labels, other.labels)
    assert [one.names[i] for i in one.person] == [other.names[i] for i in other.person]


def test_saving_and_loading(tmp_path):
    for i, absorbing in enumerate((False, True)):
        dataset = answered(absorbing=absorbing)
        checksum = dataset.save(tmp_path / f"{i}.safetensors")
        same(load_comparisons(tmp_path / f"{i}.safetensors", checksum), dataset)


@pytest.mark.parametrize(
    "items",
    [
        Options(np.eye(3)),
        Options(np.eye(3), np.ones((3, 2))),
        Sequences(np.ones((3, 4), int), vocabulary=2),
        Sequences(np.ones((3, 4), int), np.ones((3, 3), bool), vocabulary=2),
    ],
)
def test_all_items_are_saved_with_their_notes(tmp_path, items):
    notes = {"certainty": [0.5, 1.0, 0.25], "decided": [0, -1, 2]}
    given = Comparisons(items, items[::-1], [1, 0, 0.5], [0, 1, 0], ("ann", "bob"), notes)
    checksum = given.save(tmp_path / "answers.safetensors")
    found = load_comparisons(tmp_path / "answers.safetensors", checksum)
    assert jax.tree.structure(found) == jax.tree.structure(given)
    assert all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(given)))
    bob = found.by_person()["bob"]
    assert (bob.names, bob.notes["certainty"], bob.notes["decided"]) == (("bob",), [1.0], [-1])
    joined = merge(list(found.by_person().values()))
    assert np.array_equal(joined.notes["certainty"], [0.5, 0.25, 1.0])
    with pytest.raises(ValueError, match=r"same notes.*certainty"):
        merge([given, dataclasses.replace(given, notes={})])
    with pytest.raises(ValueError, match=r"Note 'certainty' must be 3 numbers, got float64 \(2,\)"):
        dataclasses.replace(given, notes={"certainty": [0.5, 1.0]})


def test_comparisons_pass_through_compiled_programs():
    given = answered()
    turned = jax.jit(lambda one: dataclasses.replace(one, labels=1 - one.labels))(given)
    assert (turned.names, turned.variable_horizon) == (given.names, given.variable_horizon)
    assert np.array_equal(turned.labels, 1 - given.labels)


def test_sides_of_different_kinds_are_refused():
    with pytest.raises(ValueError, match=r"one kind, got Options .* and Sequences"):
        Comparisons(Options(np.eye(3)), Sequences(np.ones((3, 4), int), vocabulary=2), [1, 0, 1])


def test_files_of_earlier_versions_are_named_as_such(tmp_path):
    save_arrays(tmp_path / "old.safetensors", {"labels": np.ones(2)}, {"format": "prefront preferences 1"})
    with pytest.raises(DamagedFileError, match=r"old.safetensors was written by an earlier version.*preferences 1"):
        load_comparisons(tmp_path / "old.safetensors")


def test_persons_are_split_and_merged():
    dataset = answered(("ann", "bob", "coe"))
    parts = dataset.by_person()
    assert sum(map(len, parts.values())) == len(dataset)
    for i, name in enumerate(dataset.names):
        assert np.array_equal(parts[name].labels, dataset.labels[dataset.person == i])
        assert not parts[name].person.any()
    joined = merge(list(parts.values()))
    order = np.argsort(dataset.person, kind="stable")
    same(joined, dataset[order])
    longer = answered(("coe", "dan"), seed=3, length=5)
    both = merge([dataset, longer])
    assert both.names == ("ann", "bob", "coe", "dan")
    assert len(both.by_person()["coe"]) == len(parts["coe"]) + len(longer.by_person()["coe"])
    assert np.allclose(both.first.features(), np.concatenate([dataset.first.features(), longer.first.features()]))
    assert len(dataset[:10]) == 10
    assert len(dataset[dataset.labels == 1]) == (dataset.labels == 1).sum()
    with pytest.raises(ValueError, match="no comparisons"):
        merge([])


@pytest.mark.parametrize("label", [2.0, 0.7, -1.0, np.nan])
def test_labels_outside_the_scale_are_named(label):
    dataset = answered()
    labels = dataset.labels.copy()
    labels[17] = label
    with pytest.raises(ValueError, match=rf"row 17: the label must be 0, 0.5 or 1, got {label:g}"):
        dataclasses.replace(dataset, labels=labels)


def test_wrong_rows_are_named():
    dataset = answered(absorbing=True)
    fixed = dataclasses.replace(dataset, variable_horizon=False)
    lengths = np.asarray(fixed.first.lengths).copy()
    lengths[4] = 2
    shorter = dataclasses.replace(fixed.first, lengths=lengths)
    with pytest.raises(ValueError, match=r"row 4: the segments have lengths 2 and 3.*variable_horizon=True"):
        dataclasses.replace(fixed, first=shorter)
    assert len(dataclasses.replace(fixed, first=shorter, variable_horizon=True)) == len(dataset)
    with pytest.raises(ValueError, match="Person 2, 'coe', has no answers"):
        dataclasses.replace(dataset, names=("ann", "bob", "coe"))
    with pytest.raises(ValueError, match=r"row 0: person must lie in \[0, 2\), got 9"):
        dataclasses.replace(dataset, person=np.full(len(dataset), 9))
    with pytest.raises(ValueError, match="must differ"):
        dataclasses.replace(dataset, names=("ann", "ann"))
    with pytest.raises(ValueError, match=r"equally many.*60, 60, 59, 60"):
        dataclasses.replace(dataset, labels=dataset.labels[1:])
    with pytest.raises(ValueError, match="absorbing"):
        dataclasses.replace(dataset, second=answered(number=60).second)
    rows = dataset.first
    lengths = np.asarray(rows.lengths).copy()
    lengths[3] = 7
    with pytest.raises(ValueError, match="first: row 3 declares length 7"):
        Comparisons(dataclasses.replace(rows, lengths=lengths), dataset.second, dataset.labels)


def test_labels_and_persons_are_vectors():
    dataset = answered()
    for labels in (dataset.labels[:, None], dataset.labels[None], 1.0):
        with pytest.raises(ValueError, match=r"labels must have shape \(n,\), got "):
            dataclasses.replace(dataset, labels=labels)
    with pytest.raises(ValueError, match=r"person must have shape \(n,\), got \(60, 1\)"):
        dataclasses.replace(dataset, person=dataset.person[:, None])


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "answers.safetensors"
    checksum = answered().save(path)
    whole = path.read_bytes()
    for cut in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DamagedFileError, match="answers"):
            load_comparisons(path)
    path.write_bytes(whole[:-8] + b"12345678")
    with pytest.raises(DamagedFileError, match="damaged"):
        load_comparisons(path, checksum)
    path.write_bytes(whole)
    tree, facts = load_arrays(path)
    tree["labels"][7] = 0.3
    save_arrays(path, tree, facts)
    with pytest.raises(ValueError, match=r"answers.safetensors: row 7: the label must be 0, 0.5 or 1, got 0.3"):
        load_comparisons(path)
    del tree["first"]["lengths"]
    save_arrays(path, tree, facts)
    with pytest.raises(DamagedFileError, match="lengths"):
        load_comparisons(path)
    save_arrays(path, {"weights": np.ones(2)})
    with pytest.raises(DamagedFileError, match="holds no comparisons"):
        load_comparisons(path)
    with pytest.raises(DamagedFileError, match="missing"):
        load_comparisons(tmp_path / "absent.safetensors")
