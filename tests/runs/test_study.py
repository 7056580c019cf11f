"""The experiment contract: what is no experiment is refused by name, and settings survive JSON."""

import dataclasses
import json
import platform

import pytest

from prefront.runs.study import Results, load_experiment, settings_from_dict, settings_to_dict
from prefront.system import provenance
from prefront.system.tables import Table


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 3
    names: tuple[str, ...] = ("a", "b")
    pair: tuple[int, float] = (1, 2.0)
    inner: Inner = dataclasses.field(default_factory=Inner)
    maybe: Inner | None = None
    grid: tuple[tuple[float, ...], ...] = ((0.1, 0.2), (0.3,))
    flag: bool = False


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(names=(), inner=Inner(1e-9), maybe=Inner(0.3), flag=True, pair=(2, 0.5))]
)
def test_settings_survive_json(settings):
    stored = json.loads(json.dumps(settings_to_dict(settings)))
    assert settings_from_dict(Settings, stored) == settings


def test_fields_that_differ_are_named():
    stored = settings_to_dict(Settings())
    del stored["steps"]
    stored["inner"]["speed"] = 2
    with pytest.raises(TypeError, match=r"\['steps'\]"):
        settings_from_dict(Settings, stored)
    with pytest.raises(TypeError, match=r"Inner differ in \['speed'\]"):
        settings_from_dict(Settings, {**stored, "steps": 1})
    with pytest.raises(TypeError, match="got <object"):
        settings_to_dict(Settings(steps=object()))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("x = 1", "Settings, PRESETS, run, claims, plot, a docstring"),
        ('"""A study."""\nSettings = PRESETS = run = claims = 1', "lacks plot"),
    ],
)
def test_a_file_that_is_no_experiment_is_told_what_it_lacks(tmp_path, text, missing):
    (tmp_path / "study.py").write_text(text)
    with pytest.raises(TypeError, match=missing):
        load_experiment(str(tmp_path / "study.py"))


STUDY = '''"""A study."""
import dataclasses
from prefront.reports.claims import Claim, claim_of
from prefront.reports.share_evidence import Share

@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings."""

PRESETS = {"smoke": Settings(), "paper": Settings(), "few": Settings(), "odd": Settings()}
SEEDS = {"smoke": 2, "paper": range(1000, 1010), "odd": range(0, 9, 3)}
run = plot = print

def claims(results):
    every = [claim_of(Share(9, 10), "above", 0.5, sentence="Mostly.", quantity="share")] * 5
    return [*every, Claim("All.", "", "", 1.0, "share", 10, "holds", test="a count, no test")]
'''


def test_seeds_are_a_range_or_counted_from_zero(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    study = load_experiment(str(tmp_path / "study.py"))
    assert [study.seeds(name) for name in ("smoke", "paper", "few")] == [range(2), range(1000, 1010), range(5)]
    with pytest.raises(TypeError, match=r"range\(0, 9, 3\)"):
        study.seeds("odd")


def test_no_study_can_forget_to_correct_its_claims(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    ledger = load_experiment(str(tmp_path / "study.py")).claims(Results(None, {}))
    # Alone, each of the five would hold at p = .021.
    assert [claim.verdict for claim in ledger] == ["undecided"] * 5 + ["holds"]
    assert [claim.family for claim in ledger] == [5] * 5 + [0]


def test_settings_that_json_cannot_hold_are_refused_at_once(tmp_path):
    (tmp_path / "study.py").write_text(
        '"""A study."""\nimport dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Settings:\n'
        '    numbers: list = dataclasses.field(default_factory=lambda: [1])\nPRESETS = {"smoke": Settings()}\n'
        "run = claims = plot = print"
    )
    with pytest.raises(TypeError, match=r"'smoke'.*does not survive JSON"):
        load_experiment(str(tmp_path / "study.py"))


def test_unknown_experiments_are_answered_with_near_ones():
    for name in ("pareto_discovry", "no.such.module", "nothing.py"):
        with pytest.raises(KeyError, match=r"No experiment"):
            load_experiment(name)


def test_parts_under_a_name_are_results_of_their_own():
    rows = [{"seed": 0, "part": part, "x": x} for part, x in [("one.a", 1), ("one.b", 2), ("oneself.a", 3)]]
    timing = Table.from_rows([{"seed": 0, "part": "one.a", "cpu_seconds": 4.0}])
    results = Results("all", {"metrics": Table.from_rows(rows), "other": Table.from_rows(rows[2:])}, timing)
    part = results.under("one", "settings of one")
    assert part.settings == "settings of one"
    assert part["metrics"]["part"].tolist() == ["a", "b"]
    assert part["metrics"]["x"].tolist() == [1, 2]
    assert part.timing["cpu_seconds"].tolist() == [4.0]
    assert list(part.tables) == ["metrics"]
    assert results.seeds == 1
    with pytest.raises(KeyError, match="Did you mean metrics"):
        results["metric"]


def test_surroundings_are_described_without_paths_or_names(tmp_path):
    described = json.dumps(provenance.describe())
    assert platform.python_version() in described
    assert json.loads(described)["packages"]["jax"]
    assert "/home" not in described
    assert str(tmp_path.parent) not in described
    assert platform.node() not in described
    provenance.record(tmp_path, "cpu")
    provenance.record(tmp_path, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["environment.json"]
    provenance.record(tmp_path, "gpu")
    assert {path.name for path in tmp_path.iterdir()} == {"environment.json", "environment-2.json"}
