"""The ledger of claims: what a paper says, what was measured, and whether it holds.

There is one standard. All tested claims of a study are a family, whose p-values are corrected by Holm. A claim holds if
all of its interval is beyond the bound that it names, fails if all of it is short, and is undecided otherwise. The
printed interval is that of the test, at the confidence to which the correction leads; then the interval excludes the
bound exactly where the corrected p-value is at most 0.05.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from prefront.reports.hypotheses import Hypothesis, Relation, holm, percent
from prefront.system.files import printable, read_plain_json, write_atomically

if TYPE_CHECKING:
    from rich.console import Group

    from prefront.reports.evidence import Evidence

Verdict = Literal["holds", "fails", "undecided", "at the ceiling"]
COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow", "at the ceiling": "cyan"}


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
        verdict: "holds", "fails" or "undecided"; "at the ceiling" where both sides of a comparison are at the optimum,
            so that there is nothing to gain.
        interval: Lower and upper end of the confidence interval of `measured`; None where there is none.
        p_value: Two-sided p-value of the test that `test` names; None where nothing is tested.
        test: The test, or how a claim is decided that is no test, such as a count over everything.
        conditions: What the figure depends on: environment version, discount, reference point, true environment steps,
            deterministic or stochastic policies.
        corrected: The p-value after Holm's correction; None where nothing is tested.
        family: Number of claims that were tested together; 0 where this one is no test.
        confidence: Confidence of the interval.
        hypothesis: What is tested; not stored.
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
    corrected: float | None = None
    family: int = 0
    confidence: float = 0.95
    hypothesis: Hypothesis | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"The verdict must be one of {get_args(Verdict)}, got {self.verdict!r}.")
        if self.seeds < 1:
            raise ValueError(f"A claim rests on at least 1 seed, got {self.seeds}.")
        if self.interval is not None and not -math.inf < self.interval[0] <= self.interval[1] < math.inf:
            raise ValueError(f"An interval has finite ends, the lower one first, got {self.interval}.")
        for p_value in (self.p_value, self.corrected):
            if p_value is not None and not 0 <= p_value <= 1:
                raise ValueError(f"A p-value lies in [0, 1], got {p_value}.")
        if self.family < 0 or not 0 < self.confidence < 1:
            raise ValueError(
                f"A family is counted and a confidence lies in (0, 1), got {self.family} and {self.confidence}."
            )

    @property
    def tested(self) -> bool:
        """Whether a test decides the claim, so that it belongs to a family."""
        return self.hypothesis is not None or self.p_value is not None

    @property
    def evidence(self) -> str:
        """The interval, the p-value and what the correction makes of it, as a short text."""
        parts = []
        if self.interval is not None:
            ends = f"[{_short(self.interval[0])}, {_short(self.interval[1])}]"
            parts.append(f"{percent(self.confidence)} {ends}")
        if self.p_value is not None:
            parts.append(_p_text("p", self.p_value))
        if self.corrected is not None:
            parts.append(_p_text("Holm p", self.corrected))
        return ", ".join(parts)


def claim_of(
    evidence: Evidence,
    relation: Relation,
    bound: float,
    *,
    sentence: str,
    quantity: str,
    paper: str = "",
    stated: str = "",
    conditions: str = "",
    note: str = "",
    scale: float = 1.0,
) -> Claim:
    """Returns the claim that a true figure lies on one side of a bound, decided as if it were the study's only one.

    Args:
        evidence: What was measured.
        relation: Where the figure lies; see `prefront.reports.hypotheses.Hypothesis`.
        bound: The bound, in the unit of the evidence.
        sentence: What is claimed.
        quantity: What is measured, with its unit.
        paper: Where it is claimed; "" where no paper does.
        stated: The figure that the paper states.
        conditions: What the figure depends on.
        note: What the description of the test says besides.
        scale: What figure and interval are multiplied by to be printed, such as 100 for per cent.
    """
    claim = Claim(
        sentence=sentence,
        paper=paper,
        stated=stated,
        measured=scale * evidence.estimate,
        quantity=quantity,
        seeds=evidence.number,
        verdict="undecided",
        conditions=conditions,
        hypothesis=Hypothesis(evidence, relation, bound, scale, note),
    )
    return correct([claim])[0]


def correct(claims: Sequence[Claim], level: float = 0.05) -> list[Claim]:
    """Decides all tested claims of a study together, by Holm's correction; leaves what is no test as it is.

    Args:
        claims: All claims of a study.
        level: Chance of any wrong decision that is allowed.

    Returns:
        The claims, with `corrected`, `family`, `confidence`, and the verdict, interval and text that follow from them.
        A claim that came with a p-value but without its hypothesis keeps its interval and text, and a verdict that the
        corrected p-value does not bear becomes "undecided".
    """
    raw = {
        number: math.nan if (p_value := _raw(claim)) is None else p_value
        for number, claim in enumerate(claims)
        if claim.tested
    }
    family = holm(list(raw.values()), level)
    decided = list(claims)
    for place, (number, p_value) in enumerate(raw.items()):
        known = not math.isnan(p_value)
        decided[number] = dataclasses.replace(
            _decide(claims[number], family.decides(place), family.confidence, len(raw)),
            p_value=p_value if known else None,
            corrected=family.p_values[place] if known else None,
            family=len(raw),
        )
    return decided


def _raw(claim: Claim) -> float | None:
    return claim.p_value if claim.hypothesis is None else claim.hypothesis.p_value


def _decide(claim: Claim, decided: bool, confidence: float, family: int) -> Claim:
    hypothesis = claim.hypothesis
    if hypothesis is None:
        return claim if decided else dataclasses.replace(claim, verdict="undecided")
    return dataclasses.replace(
        claim,
        verdict=("holds" if hypothesis.supported else "fails") if decided else "undecided",
        interval=hypothesis.interval(confidence),
        confidence=confidence,
        test=hypothesis.describe(confidence, family),
    )


def write_claims(path: str | Path, claims: Sequence[Claim]) -> None:
    """Writes claims as a JSON file, atomically; not-a-number and infinity are written as null."""
    write_atomically(path, json.dumps([_storable(claim) for claim in claims], indent=1, allow_nan=False) + "\n")


def read_claims(path: str | Path, checksum: str | None = None) -> list[Claim]:
    """Reads what `write_claims` wrote.

    Args:
        path: The file.
        checksum: Its SHA-256 checksum; the file is refused where it has another.

    Raises:
        DamagedFileError: The file has another checksum, or holds no claims; the message names it.
    """
    ledger: list[Claim] = read_plain_json(path, list[Claim], checksum)
    return ledger


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
            Text(printable(claim.sentence)),
            Text(printable(claim.stated) or "-"),
            Text(printable(f"{_short(claim.measured)} {claim.quantity}")).append(f"\n{claim.evidence}", style="dim"),
            Text(claim.verdict, style=COLOURS[claim.verdict]),
        )
        parts = [part for part in (claim.paper, f"n = {claim.seeds}", claim.conditions, claim.test) if part]
        notes.append(Text(printable(f"{number}  {'; '.join(parts)}."), style="dim"))
    return Group(table, *notes)


def to_markdown(claims: Sequence[Claim]) -> str:
    """Returns the ledger as a Markdown table."""
    lines = [
        "| claim | paper | stated | measured | interval, p, p after Holm | n | verdict |",
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
        shown = (printable(cell.replace("\n", " ")).replace("|", "\\|") for cell in cells)
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def summary(claims: Sequence[Claim]) -> str:
    """Counts the verdicts: "7 hold, 2 fail, 1 undecided, 3 at the ceiling"."""
    counts = {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in get_args(Verdict)}
    text = f"{counts['holds']} hold, {counts['fails']} fail, {counts['undecided']} undecided"
    return text + (f", {counts['at the ceiling']} at the ceiling" if counts["at the ceiling"] else "")


def _storable(claim: Claim) -> dict[str, Any]:
    fields = {field.name: getattr(claim, field.name) for field in dataclasses.fields(claim)}
    del fields["hypothesis"]
    fields["measured"] = float(claim.measured)
    if claim.interval is not None:
        fields["interval"] = [float(end) for end in claim.interval]
    return {name: _finite(value) for name, value in fields.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else "-"


def _p_text(name: str, p_value: float) -> str:
    return f"{name} = {p_value:.2g}" if p_value >= 1e-4 else f"{name} < 0.0001"
