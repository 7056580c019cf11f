"""What a reader can type runs as it is printed: the README, the pages in docs/, and the files in examples/."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Their examples run in tests of their own, which also hold what they learn.
ELSEWHERE = ("overoptimization.md", "preferences.md")
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "agents").glob("*.md"))]
PAGES = [page for page in WRITTEN if BLOCK.search(page.read_text()) and page.name not in ELSEWHERE]
SLOW = ("README.md", "first_front.py")


def marked(paths):
    return [pytest.param(p, id=p.name, marks=[pytest.mark.slow] if p.name in SLOW else []) for p in paths]


@pytest.mark.parametrize("page", marked(PAGES))
def test_examples_of_a_page_run_in_their_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(BLOCK.findall(page.read_text()), start=1):
        exec(compile(block, f"{page.name}, example {number}", "exec"), names)


@pytest.mark.parametrize("script", marked(sorted((ROOT / "examples").glob("*.py"))))
def test_an_example_runs(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")


def test_the_first_example_is_that_of_the_readme():
    code = (ROOT / "examples" / "first_front.py").read_text().partition("# %%\n")[2]
    assert code in (ROOT / "README.md").read_text()


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 120
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (ROOT / target).exists(), f"README.md links to {target}, which is missing."
