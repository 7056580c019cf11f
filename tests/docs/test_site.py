"""The site is whole: everything has a page, every link leads to one, and every figure says where it comes from."""

import inspect
import posixpath
import re
import subprocess
import sys
from pathlib import Path

import pytest

import prefront
from prefront.runs.catalogue import AGENTS, EXPERIMENTS, MODELS
from prefront.tasks.registry import ENVIRONMENTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SECTIONS = ("## Usage", "## Logged figures", "## Details", "## Known differences", "## Results")
ORIGIN = (r"`prefront run", r"[Cc]ommit [0-9a-f]{7}", r"\bseeds?\b", r"EPYC|GPU")


@pytest.fixture(scope="module")
def generate():
    sys.path.insert(0, str(DOCS))
    try:
        import generate as module
    finally:
        sys.path.remove(str(DOCS))
    return module


@pytest.fixture(scope="module")
def pages(generate):
    return generate.pages({})


def test_every_environment_agent_and_study_has_a_page(pages):
    environments = "".join(text for path, text in pages.items() if path.startswith("environments/"))
    for id in ENVIRONMENTS:
        assert f"| `{id}` | " in environments
    for name in AGENTS:
        for section in SECTIONS:
            assert section in pages[f"agents/{name}.md"], f"docs/agents/{name}.md lacks {section!r}."
    for name in EXPERIMENTS:
        assert f"prefront run {name}" in pages[f"studies/{name}.md"]


def test_every_preference_model_has_a_page(pages):
    assert {"PartialReturn", "GeneralPreference"} <= set(MODELS)
    for name in MODELS:
        assert pages[f"models/{name}.md"].startswith(f"# {name}\n")


@pytest.mark.parametrize("package", ["prefront", "prefront.envs", "prefront.agents"])
def test_every_public_name_has_a_docstring(package, generate):
    if package == "prefront":
        public = [(name, getattr(prefront, name)) for name in prefront.__all__ if name != "__version__"]
    else:
        public = [
            (f"{module.__name__}.{name}", member)
            for module in generate.sources.modules(package)
            for name, member in vars(module).items()
            if name[0] != "_" and getattr(member, "__module__", None) == module.__name__ and callable(member)
        ]
    assert public
    for name, member in public:
        text = inspect.getdoc(member) or ""
        written = text and not text.startswith(f"{getattr(member, '__name__', '')}(")  # as dataclasses write themselves
        assert written, f"{name} has no docstring."


def test_every_link_inside_leads_to_a_page_or_figure(pages):
    for path, text in pages.items():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" in target:
                continue
            place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            assert place in pages or (DOCS / place).is_file(), f"{path} links to {target}, which is missing."


def test_every_figure_says_command_commit_hardware_and_seeds(pages):
    shown = 0
    for path, text in pages.items():
        for name, caption in re.findall(r"!\[[^\]]*\]\(([^)]+)\)\n\n(.*?)(?:\n\n|\Z)", text, re.DOTALL):
            shown += 1
            for needed in ORIGIN:
                assert re.search(needed, caption), f"{path}: the caption of {name} does not match {needed!r}."
        assert len(re.findall(r"!\[", text)) == len(re.findall(r"!\[[^\]]*\]\([^)]+\)\n\n\S", text)), path
    assert shown


def test_an_environments_page_shows_its_front_picture_and_returns_with_their_origin(generate):
    name = "prefront/DeepSeaTreasure-v0"
    found = generate.answer(name)
    page = generate.pages({name: found})["environments/DeepSeaTreasure.md"]
    for figure, command in (("front", r"pareto_front\(\)"), ("start", r"gym\.make")):
        caption = re.search(rf"{figure}-DeepSeaTreasure-v0\.png\)\n\n(.*?)\n\n", page, re.DOTALL)[1]
        for needed in (command, r"Commit [0-9a-f]{7}", r"\bseeds?\b", r"hardware: \d+ cores? of an"):
            assert re.search(needed, caption), f"{caption!r} does not match {needed!r}."
    assert "random policy: exact, without a time limit." in page
    best, random = re.search(rf"`{name}` .*? \| (\([^|]*\)) \| (\([^|]*\)) \|", page).groups()
    # The largest treasure, and the quickest; a random diver gets little.
    assert best == f"({found.points[:, 0].max():.4g}, -1)"
    treasure, time = (float(one) for one in random[1:-1].split(", "))
    assert 0 < treasure < 5
    assert -20 < time < -5


def test_stored_tables_say_command_commit_hardware_and_seeds(pages, generate):
    for study in EXPERIMENTS:
        if generate.sources.stored(study) is not None:
            origin = re.search(r"## Claims\n\n(.*?)\n\n", pages[f"studies/{study}.md"])[1]
            for needed in ORIGIN:
                assert re.search(needed, origin), f"{study}: {origin!r} does not match {needed!r}."


@pytest.mark.slow
def test_the_site_builds_without_a_warning(generate, tmp_path):
    pytest.importorskip("furo")
    generate.write(tmp_path / "pages", quick=True)
    folders = [str(tmp_path / "pages"), str(tmp_path / "built")]
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        "--keep-going",
        "-c",
        str(DOCS),
        *folders,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "http" not in "".join(re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]*)"', _front(tmp_path)))


def _front(folder):
    return (folder / "built" / "index.html").read_text()
