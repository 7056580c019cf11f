"""The loader of published human preferences, on files made here and on the published ones where they can be found."""

from pathlib import Path

import numpy as np
import pytest

from prefront.envs.delivery import MOVES, PUBLISHED_WEIGHTS, Delivery
from prefront.envs.human_delivery import find_conditions, load_human_delivery
from prefront.preferences.segments import sample_segments
from prefront.system.files import DamagedFileError

TABLE = Delivery().table()
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "human-delivery"


@pytest.fixture
def files(tmp_path):
    """A condition of 40 preferences in the published format, written from segments of the task."""
    rng = np.random.default_rng(0)
    shown = [sample_segments(TABLE, 40, 3, rng, absorbing=True) for _ in range(2)]
    pairs = np.zeros((40, 2, 4, 2), np.int64)
    for i, segments in enumerate(shown):
        pairs[:, i, 0] = np.stack([segments.start // 10, segments.start % 10], 1)
        ended = TABLE.terminal[segments.states[:, :-1]]
        pairs[:, i, 1:] = np.where(ended[..., None], 0, MOVES[segments.actions])
    returns = [segments.features() @ PUBLISHED_WEIGHTS for segments in shown]
    parts = {
        "X": np.stack([returns[1] - returns[0], np.zeros(40), np.zeros(40)], 1),
        "Y": rng.choice([0, 0.5, 1], 40),
        "segment_pairs": pairs,
    }
    for part, array in parts.items():
        np.save(tmp_path / f"Control_{part}.npy", array)
    return tmp_path, parts, shown


def test_files_become_preferences(files):
    folder, parts, shown = files
    dataset = load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)
    assert np.array_equal(dataset.labels, parts["Y"])
    for found, made in ((dataset.first, shown[1]), (dataset.second, shown[0])):
        assert np.array_equal(found.states, made.states)
        assert np.array_equal(found.rewards, made.rewards)
        assert np.array_equal(found.ended, made.ended)
    assert shown[0].ended.any()


def test_a_name_in_full_is_found_beside_longer_ones(files):
    folder, parts, _ = files
    for part, array in parts.items():
        np.save(folder / f"Control-2_{part}.npy", array[:3])
    assert len(load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)) == 40
    assert len(load_human_delivery(folder, "Control-2", TABLE, PUBLISHED_WEIGHTS)) == 3
    with pytest.raises(DamagedFileError, match=r"2 files Con\*_X.npy .*\['Control', 'Control-2'\]"):
        load_human_delivery(folder, "Con", TABLE, PUBLISHED_WEIGHTS)


def test_conditions_of_a_folder_are_found_by_name(files, tmp_path_factory):
    folder, parts, _ = files
    for part, array in parts.items():
        np.save(folder / f"Control-2_full_filtered_{part}.npy", array[:3])
        np.save(folder / f"Control-3_full_filtered_{part}.npy", array[:4])
    assert find_conditions(folder) == ["Control", "Control-2", "Control-3"]
    counts = [len(load_human_delivery(folder, name, TABLE, PUBLISHED_WEIGHTS)) for name in find_conditions(folder)]
    assert counts == [40, 3, 4]
    (folder / "Control-2_full_filtered_Y.npy").unlink()
    with pytest.raises(DamagedFileError, match=r"lacks Control-2_full_filtered_Y\.npy"):
        find_conditions(folder)
    with pytest.raises(DamagedFileError, match=r"No files NAME_X\.npy"):
        find_conditions(tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize(
    ("part", "place", "value", "message"),
    [
        ("Y", 7, 0.4, r"_Y.npy, row 7: the label must be 0, 0.5 or 1, got .*0.4"),
        ("X", (9, 0), 1000.0, r"_X.npy, row 9: the difference of return is 1000, but the segments give"),
        ("X", (3, 2), np.inf, r"_X.npy, row 3: .*inf.* in column 2 is not finite"),
        ("segment_pairs", (5, 1, 0), [10, 0], r"segment 1, row 5: the start \[10, 0\] lies outside the 10 x 10 map"),
        ("segment_pairs", (5, 0, 0), [2, 2], r"segment 0, row 5: nobody can start at \[2, 2\]"),
        ("segment_pairs", (6, 0, 1), [1, 1], r"segment 0, row 6: \[1, 1\] is no move, at step 0"),
        ("segment_pairs", (6, 1, 1), [0, 0], r"segment 1, row 6: \[0, 0\] is no move, at step 0"),
    ],
)
def test_wrong_rows_are_named(files, part, place, value, message):
    folder, parts, _ = files
    changed = parts[part].copy()
    changed[place] = value
    np.save(folder / f"Control_{part}.npy", changed)
    with pytest.raises(ValueError, match=message):
        load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)


def test_damaged_files_are_named(files):
    folder, parts, _ = files
    path = folder / "Control_Y.npy"
    whole = path.read_bytes()
    for cut in (0, 20, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(DamagedFileError, match="Control_Y"):
            load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)
    np.save(path, parts["Y"][:-1])
    with pytest.raises(DamagedFileError, match=r"_X.npy has shape \(40, 3\), but \(39, 3\)"):
        load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)
    np.save(path, np.array([{}] * 40), allow_pickle=True)
    with pytest.raises(DamagedFileError, match="Control_Y"):
        load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)
    path.unlink()
    with pytest.raises(DamagedFileError, match=r"Conditions there: \['Control'\]"):
        load_human_delivery(folder, "Control", TABLE, PUBLISHED_WEIGHTS)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published data are not part of the project")
def test_every_published_difference_of_return_is_reproduced():
    dataset = load_human_delivery(PUBLISHED, "Privileged-Control", TABLE, PUBLISHED_WEIGHTS)
    assert len(dataset) == 1793
    table = np.load(PUBLISHED / "Privileged-Control_full_filtered_X.npy")
    returns = [segments.features() @ PUBLISHED_WEIGHTS for segments in (dataset.first, dataset.second)]
    assert np.array_equal(returns[0] - returns[1], table[:, 0])
    assert np.array_equal(np.unique(dataset.labels, return_counts=True)[1], [551, 354, 888])
