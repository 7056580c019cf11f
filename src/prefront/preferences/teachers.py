"""Teachers: simulated people who own a true reward and choose between items by it.

A teacher is the only thing that knows the reward. It has no attribute that shows it, refuses to be copied or stored,
and what it hands out is a `Comparisons`: items, answers and names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from prefront.preferences.choice import Choice
from prefront.preferences.comparisons import Comparisons
from prefront.preferences.items import Items
from prefront.preferences.segments import Segments

# Scores that differ by at most this share of max(1, |score|) differ by rounding.
ROUNDING = 1e-9

Kind = TypeVar("Kind", bound=Items)
Score = Callable[[Any, np.ndarray], Any]
"""(items, person) -> how much person[i] likes item i, shape (n,); more is better. A score or margin that knows how many
persons there are says so in an attribute `people`."""
Margin = Callable[[Any, Any, np.ndarray], Any]
"""(first, second, person) -> by how much person[i] likes the first item of pair i more, shape (n,), in the unit of what
is compared; not a number where nobody would answer."""


def utility_margin(score: Score, skip_below: float = -np.inf) -> Margin:
    """Returns the margin of people who like what scores more: a difference of scores, 0 where that is rounding.

    Args:
        score: What is compared, such as that of `ideal_point`, or the gold value of sequences.
        skip_below: Pairs in which both scores lie below it get no answer (Lee et al., 2021, section 3).
    """

    def margin(first: Items, second: Items, person: np.ndarray) -> np.ndarray:
        one, other = (np.asarray(score(items, person), np.float64) for items in (first, second))
        rounding = ROUNDING * np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
        difference = np.where(np.abs(one - other) <= rounding, 0.0, one - other)
        return np.where(np.maximum(one, other) < skip_below, np.nan, difference)

    margin.__dict__.update(getattr(score, "__dict__", {}))
    return margin


def ideal_point(ideals: Any, discount: float = 1.0) -> Score:
    """Returns the score of people who like what lies near their ideal (Coombs, 1950): minus the distance of features.

    Args:
        ideals: Each person's ideal features, shape (P, d), or (d,) for one person.
        discount: Discount inside items.
    """
    own = np.atleast_2d(np.array(ideals, np.float64))

    def score(items: Items, person: np.ndarray) -> np.ndarray:
        return np.asarray(-np.linalg.norm(items.features(discount) - own[person], axis=1))

    score.__dict__["people"] = len(own)
    return score


class Teacher:
    """One person, or a population, who choose between items of any kind.

    Args:
        margin: By how much persons like one item more than another. `utility_margin` makes it of scores,
            `prefront.preferences.segment_scores.segment_margin` of a statistic of segments; people whose taste goes in
            circles, or depends on the context, are a function of one's own.
        choice: How an answer follows from a margin.
        names: Names of the persons, by whose index the margin knows them; "person 0" and so on by default.
        scale: The unit of margins for `choice`: a number, or one a person, shape (P,). Items in its place make it the
            standard deviation of the score over them, by person, so that longer segments or larger rewards do not make
            a person deterministic.

    Raises:
        ValueError: There is no name, or there are others than the margin knows persons, or a scale is not positive; the
            message names it.
    """

    __slots__ = ("__margin", "__scale", "choice", "names")

    def __init__(
        self,
        margin: Margin,
        choice: Choice | None = None,
        names: Sequence[str] | None = None,
        scale: Any = 1.0,
    ) -> None:
        known = getattr(margin, "people", None)
        made = (f"person {i}" for i in range(1 if known is None else known))
        self.choice, self.names, self.__margin = choice or Choice(), tuple(made if names is None else names), margin
        people = range(len(self.names))
        if not people:
            raise ValueError("names must name at least one person.")
        if known is not None and len(people) != known:
            raise ValueError(
                f"names must name the {known} persons of the margin, got {len(people)} names {self.names}."
            )
        if isinstance(scale, Items):
            shown = scale.checked("scale")
            # Against one and the same item, margins vary as scores do.
            one = shown[np.zeros(len(shown), int)]
            scale = [np.std(margin(shown, one, np.full(len(shown), person))) for person in people]
        self.__scale = np.array(np.broadcast_to(scale, len(people)), np.float64)
        for person in np.flatnonzero(~((self.__scale > 0) & np.isfinite(self.__scale))):
            raise ValueError(f"The scale of {self.names[person]!r} must be positive, got {self.__scale[person]:g}.")

    def ask(self, first: Kind, second: Kind, rng: np.random.Generator, *, person: Any = None) -> Comparisons[Kind]:
        """Asks for n comparisons.

        Args:
            first: The first item of each pair.
            second: The second item of each pair.
            rng: Source of random numbers; the same state gives the same answers.
            person: Who is asked, index of a name, shape (n,); drawn uniformly by default.

        Returns:
            The answers, without pairs that were skipped, and with the names of those who answered any.

        Raises:
            ValueError: Items or persons are wrong, or every pair was skipped.
        """
        count, people = len(first), len(self.names)
        if not count:
            raise ValueError("A teacher is asked about one or more pairs, got 0.")
        asked = rng.integers(people, size=count) if person is None else np.broadcast_to(np.asarray(person), count)
        chances = self.choice_probabilities(first, second, person=asked)
        column = (rng.random((count, 1)) >= np.cumsum(chances, 1)[:, :3]).sum(1)
        rows = np.flatnonzero(column < 3)
        if not len(rows):
            raise ValueError(f"All {count} pairs were skipped: lower skip_below, or ask about better items.")
        kept, who = np.unique(asked[rows], return_inverse=True)
        return Comparisons(
            first[rows],
            second[rows],
            column[rows] / 2,
            who,
            tuple(self.names[i] for i in kept),
            variable_horizon=isinstance(first, Segments) and not first.absorbing,
        )

    def choice_probabilities(self, first: Items, second: Items, *, person: Any = 0) -> np.ndarray:
        """Returns the probabilities of the answers 0, 0.5, 1 and of no answer, shape (n, 4).

        Args:
            first: The first item of each pair.
            second: The second item of each pair.
            person: Who is asked, index of a name or one for each pair.

        Raises:
            ValueError: A person does not exist, or items do not fit the teacher.
        """
        first, second = first.checked("first"), second.checked("second")
        if len(first) != len(second):
            raise ValueError(f"{len(first)} first and {len(second)} second items do not make pairs.")
        asked = np.broadcast_to(np.asarray(person), len(first))
        for row in np.flatnonzero((asked < 0) | (asked >= len(self.names))):
            raise ValueError(f"row {row}: person must lie in [0, {len(self.names)}), got {asked[row]}.")
        margin = np.asarray(self.__margin(first, second, asked), np.float64)
        if margin.shape != asked.shape:
            raise ValueError(f"A margin must have shape {asked.shape}, one a pair, got {margin.shape}.")
        return np.asarray(self.choice.probabilities(margin, self.__scale[asked]))

    def relabel(self, dataset: Comparisons[Kind], rng: np.random.Generator) -> Comparisons[Kind]:
        """Asks this teacher for the pairs of a dataset, each the person of the same name where all names are known."""
        known = {name: i for i, name in enumerate(self.names)}
        same = set(dataset.names) <= set(known)
        person = np.array([known[name] for name in dataset.names])[dataset.person] if same else None
        return self.ask(dataset.first, dataset.second, rng, person=person)

    def __repr__(self) -> str:
        return f"Teacher({len(self.names)} persons, {self.choice})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A teacher owns the true reward and is neither copied nor stored; store what it was made from.")
