"""The ledger of claims: what a paper says, what was measured, and whether it holds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from prefront.files import DamagedFileError, write_atomically

if TYPE_CHECKING:
    from rich.console import Group

    from prefront.statistics import Comparison

Verdict = Literal["holds", "fails", "undecided"]
COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow"}


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence that a paper states, beside what was measured.

    Attributes:
        sentence: What is claimed, so that it can be true or false of the measured figure.
        paper: Where it is claimed: authors, year, section.
        stated: The figure the paper states, as it prints it; "" where it states none.
        measured: The figure measured.
        quantity: What `measured` is, with its unit.
        seeds: Number n of independent repetitions behind the figure: seeds, or the tasks, draws or folds that the
            test pairs by; printed as n.
        verdict: "holds", "fails" or "undecided" at the confidence of the interval or the p-value.
        interval: Lower and upper end of the confidence interval of `measured`.
        p_value: p-value of the test that `test` names.
        test: The test or the interval's method, with its sides and level.
        conditions: What the figure depends on: environment version, discount, reference point, true environment steps,
            deterministic or stochastic policies.
    """

    sentence: str
    paper: str
    stated: str
    measured: float
    quantity: str
    seeds: int
    verdict: Verdict
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    test: str = ""
    conditions: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"The verdict must be one of {get_args(Verdict)}, got {self.verdict!r}.")
        if self.seeds < 1:
            raise ValueError(f"A claim rests on at least 1 seed, got {self.seeds}.")
        if self.interval is not None and not -math.inf < self.interval[0] <= self.interval[1] < math.inf:
            raise ValueError(f"An interval has finite ends, the lower one first, got {self.interval}.")
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise ValueError(f"A p-value lies in [0, 1], got {self.p_value}.")

    @property
    def evidence(self) -> str:
        """The interval and the p-value as a short text."""
        parts = []
        if self.interval is not None:
            parts.append(f"[{_short(self.interval[0])}, {_short(self.interval[1])}]")
        if self.p_value is not None:
            parts.append(f"p = {self.p_value:.2g}" if self.p_value >= 1e-4 else "p < 0.0001")
        return ", ".join(parts)


def judge(p_for: float, p_against: float, level: float = 0.05) -> Verdict:
    """Decides a claim from the p-values of the two one-sided tests of it.

    Args:
        p_for: p-value of the test whose alternative is the claim.
        p_against: p-value of the test whose alternative is the opposite.
        level: Level of both tests.

    Returns:
        "holds" or "fails" where one test rejects, "undecided" where neither does or a p-value is NaN.
    """
    if p_for < level:
        return "holds"
    return "fails" if p_against < level else "undecided"


def claim_of_pairs(found: Comparison, **fields: Any) -> Claim:
    """Returns the claim that ours are larger, as a paired comparison decides it at level 0.05.

    Args:
        found: The comparison, which gives figure, interval, p-value, verdict and number of seeds.
        **fields: All other fields of the claim, and those that are to be otherwise.
    """
    decided: dict[str, Any] = {
        "measured": found.gain,
        "seeds": found.pairs,
        "verdict": judge(found.p_greater, found.p_less),
        "interval": found.interval,
        "p_value": found.p_greater,
    }
    return Claim(**decided | fields)


def write_claims(path: str | Path, claims: Sequence[Claim]) -> None:
    """Writes claims as a JSON file, atomically; not-a-number and infinity are written as null."""
    write_atomically(path, json.dumps([_storable(claim) for claim in claims], indent=1, allow_nan=False) + "\n")


def read_claims(path: str | Path) -> list[Claim]:
    """Reads what `write_claims` wrote.

    Raises:
        DamagedFileError: The file holds no claims; the message names it.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        return [Claim(**{**one, "measured": _number(one["measured"]), "interval": _pair(one)}) for one in stored]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFileError(f"{path} holds no ledger of claims: {error}") from error


def to_table(claims: Sequence[Claim], title: str = "Claims") -> Group:
    """Returns the ledger for the terminal: a table, and below it the papers, conditions and tests by number."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("", justify="right", style="dim")
    table.add_column("claim", ratio=2)
    table.add_column("stated", ratio=1)
    table.add_column("measured", ratio=2)
    table.add_column("verdict", no_wrap=True, min_width=len("undecided"))
    notes = []
    for number, claim in enumerate(claims, start=1):
        table.add_row(
            str(number),
            Text(claim.sentence),
            Text(claim.stated or "-"),
            Text(f"{_short(claim.measured)} {claim.quantity}").append(f"\n{claim.evidence}", style="dim"),
            Text(claim.verdict, style=COLOURS[claim.verdict]),
        )
        parts = [part for part in (claim.paper, f"n = {claim.seeds}", claim.conditions, claim.test) if part]
        notes.append(Text(f"{number}  {'; '.join(parts)}.", style="dim"))
    return Group(table, *notes)


def to_markdown(claims: Sequence[Claim]) -> str:
    """Returns the ledger as a Markdown table."""
    lines = [
        "| claim | paper | stated | measured | interval, p-value | n | verdict |",
        "|---|---|---|---:|---|---:|---|",
    ]
    for claim in claims:
        small = " <br> ".join(part for part in (claim.conditions, claim.test) if part)
        cells = (
            f"{claim.sentence}{f' <br> <sub>{small}</sub>' if small else ''}",
            claim.paper,
            claim.stated or "-",
            f"{_short(claim.measured)} {claim.quantity}",
            claim.evidence or "-",
            str(claim.seeds),
            f"**{claim.verdict}**",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def summary(claims: Sequence[Claim]) -> str:
    """Counts the verdicts: "7 hold, 2 fail, 1 undecided"."""
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in get_args(Verdict)}
    return f"{counts['holds']} hold, {counts['fails']} fail, {counts['undecided']} undecided"


def _storable(claim: Claim) -> dict[str, Any]:
    fields = dataclasses.asdict(claim)
    fields["measured"] = float(claim.measured) if math.isfinite(claim.measured) else None
    if claim.interval is not None:
        fields["interval"] = [float(end) for end in claim.interval]
    return fields


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _pair(stored: dict[str, Any]) -> tuple[float, float] | None:
    interval = stored.get("interval")
    return None if interval is None else (float(interval[0]), float(interval[1]))


def _short(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else "-"
