"""Topic ``assessments``: what others say of a debtor: ratings of agencies and credit insurers, notes of salespeople."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from schemas.base import BusinessDate, Contract, Id, Probability, Text, blame


class RatingReceived(Contract):
    """An external rating. ``score`` is the agency's grade on its own scale, as a share: 0 the worst grade, 1 the best.

    Where the agency tells a ``probability_of_default`` (in a year), that counts instead. A rating replaces the agency's former
    one and counts until ``valid_until`` (a year, if none is told).
    """

    customer_id: Id
    rating_id: Id
    agency: Id
    grade: Text | None = None
    """In the agency's own words, such as "BB+"."""
    score: Probability
    probability_of_default: Probability | None = None
    rated_on: BusinessDate
    valid_until: BusinessDate | None = None

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Self:
        if self.valid_until is not None and self.valid_until < self.rated_on:
            raise blame("valid_until", f"valid_until {self.valid_until} lies before rated_on {self.rated_on}")
        return self


class NoteMade(Contract):
    """What somebody who knows the debtor thinks of its payments. The latest note counts, less with every month."""

    customer_id: Id
    note_id: Id
    author: Id
    """A role or an id, never a name that is not needed."""
    stance: Literal["good", "neutral", "bad"]
    text: Text | None = None
    """For people: the score does not read it."""
    made_on: BusinessDate
