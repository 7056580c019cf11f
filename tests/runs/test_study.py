"""The form of a study: what is no study is refused by name, its claims are one family, and settings survive JSON."""

import dataclasses
import json
import platform

import pytest

from prefront.reports.claims import Claim, claim_of
from prefront.reports.share_evidence import Share
from prefront.runs.cells import WHOLE, cell_name
from prefront.runs.loading import load_experiment
from prefront.runs.stored_settings import settings_from_dict, settings_to_dict
from prefront.runs.study import Results, Study
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
        ("x = 1", "STUDY = Study"),
        ('"""A study."""\nSTUDY = print', "STUDY = Study"),
        ("from prefront.runs.study import Study\nSTUDY = Study({'smoke': 1}, print, [], [])", "a docstring"),
    ],
)
def test_a_file_that_is_no_experiment_is_told_what_it_lacks(tmp_path, text, missing):
    (tmp_path / "study.py").write_text(text)
    with pytest.raises(TypeError, match=f"study.py is no experiment: it lacks {missing}"):
        load_experiment(str(tmp_path / "study.py"))


def study(**changes):
    presets = {"smoke": Settings(), "paper": Settings(steps=9), "few": Settings(steps=1)}
    return Study(**{"presets": presets, "run": print, "claims": [], "figures": [], **changes})


def test_seeds_are_a_range_or_counted_from_zero():
    made = study(seeds={"smoke": 2, "paper": range(1000, 1010)})
    assert [made.preset_seeds(name) for name in made.presets] == [range(2), range(1000, 1010), range(5)]
    with pytest.raises(TypeError, match=r"range\(0, 9, 3\)"):
        study(seeds={"smoke": range(0, 9, 3)})
    with pytest.raises(ValueError, match=r"No preset 'papr'\. Did you mean paper"):
        study(seeds={"papr": 3})


def test_a_study_without_presets_is_refused():
    with pytest.raises(ValueError, match="got none"):
        study(presets={})


def test_no_study_can_forget_to_correct_its_claims():
    claim = claim_of(Share(9, 10), "above", 0.5, sentence="Mostly.", quantity="share")
    count = Claim("All.", "", "", 1.0, "share", 10, "holds", test="a count, no test")
    ledger = study(claims=[lambda results: [claim] * 3, lambda results: [claim, claim, count]]).decide(
        Results(None, {})
    )
    # Alone, each of the five would hold at p = .021.
    assert [claim.verdict for claim in ledger] == ["undecided"] * 5 + ["holds"]
    assert [claim.family for claim in ledger] == [5] * 5 + [0]


def test_every_figure_function_draws(tmp_path):
    figures = [lambda results, folder: [folder / "a.pdf"], lambda results, folder: [str(folder / "b.pdf")]]
    assert study(figures=figures).draw(Results(None, {}), tmp_path) == [tmp_path / "a.pdf", tmp_path / "b.pdf"]


def test_settings_that_json_cannot_hold_are_refused_at_once(tmp_path):
    (tmp_path / "study.py").write_text(
        '"""A study."""\nimport dataclasses\nfrom prefront.runs.study import Study\n'
        "@dataclasses.dataclass(frozen=True)\nclass Settings:\n"
        "    numbers: list = dataclasses.field(default_factory=lambda: [1])\n"
        'STUDY = Study({"smoke": Settings()}, print, [], [])'
    )
    with pytest.raises(TypeError, match=r"'smoke'.*does not survive JSON"):
        load_experiment(str(tmp_path / "study.py"))


def test_unknown_experiments_are_answered_with_near_ones():
    for name in ("pareto_discovry", "no.such.module", "nothing.py"):
        with pytest.raises(KeyError, match=r"No experiment"):
            load_experiment(name)


@dataclasses.dataclass(frozen=True)
class Cell:
    maze: str
    method: str | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    study: str
    cell: Cell


def test_without_cells_the_work_is_one_piece():
    assert study().named_cells(Settings()) == {"all": WHOLE}


@pytest.mark.parametrize("cells", [[], [Cell("a"), Cell("a")], [Cell("a"), Outer("a", Cell("b")), Cell("a", "b")]])
def test_cells_are_one_or_more_with_different_names(cells):
    with pytest.raises(ValueError, match=r"1 to 10,000 cells, got 0|different names, got"):
        study(cells=lambda settings: cells).named_cells(Settings())


def test_cells_of_a_study_within_a_study_have_results_of_their_own():
    one, other = Cell("a", "ours"), Cell("b")
    inside = {Outer("one", one): one, Outer("one", other): other}
    names = [cell_name(cell) for cell in (*inside, Outer("oneself", one))]
    rows = [{"seed": 0, "cell": name, "x": x} for x, name in enumerate(names, start=1)]
    timing = Table.from_rows([{"seed": 0, "cell": names[0], "cpu_seconds": 4.0}])
    results = Results("all", {"metrics": Table.from_rows(rows), "other": Table.from_rows(rows[2:])}, timing)
    own = results.of_cells(inside, "settings of one")
    assert own.settings == "settings of one"
    assert own["metrics"]["cell"].tolist() == ["a.ours", "b"]
    assert own["metrics"]["x"].tolist() == [1, 2]
    assert own.timing["cpu_seconds"].tolist() == [4.0]
    assert list(own.tables) == ["metrics"]
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
