"""The page on overoptimization: its examples run, one after another, as a reader would type them."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "overoptimization.md"


@pytest.mark.slow
def test_the_examples_of_the_page_run(capsys):
    pytest.importorskip("torch")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{PAGE.name}, example {number}", "exec"), names)
    printed = capsys.readouterr().out
    for quantity in ("gold", "threshold_error", "optimum_divergence"):
        assert quantity in printed


def test_the_page_shows_figures_that_are_there():
    figures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert figures
    for figure in figures:
        assert (PAGE.parent / figure).is_file()
