"""What others say of a debtor, as a number: external ratings and salespeople's notes (the weight of it is learned)."""

from __future__ import annotations

from datetime import date

from msgspec.structs import replace

from agents.debtor.scoring.state import Note, Rating, ScoreInputs, ScoreState
from agents.score_model import logit
from schemas.events.assessments import NoteMade, RatingReceived

MOST_AGENCIES = 5
VALID_DAYS = 365
"""A rating without an end counts for a year."""
NOTE_HALF_LIFE = 90.0
"""Days after which a note counts half."""
USUAL_PD = 0.02
"""A probability of default within a year that says nothing either way (the order of magnitude of small firms)."""


def risk_of(fact: RatingReceived) -> float:
    """From -2 (as good as can be) to 2.

    >>> from datetime import date
    >>> day = date(2026, 3, 2)
    >>> risk_of(RatingReceived(customer_id="c", rating_id="r", agency="a", score=1.0, rated_on=day))
    -2.0
    >>> risk_of(RatingReceived(customer_id="c", rating_id="r", agency="a", score=0.9, probability_of_default=0.02, rated_on=day))
    0.0
    """
    pd = fact.probability_of_default
    by_grade = 4.0 * (0.5 - fact.score)
    risk = by_grade if pd is None else (logit(min(max(pd, 1e-6), 1.0 - 1e-6)) - logit(USUAL_PD)) / 1.2
    return round(max(-2.0, min(2.0, risk)), 3)


def take_rating(score: ScoreState, fact: RatingReceived) -> ScoreState:
    """A rating replaces the agency's former one; beyond ``MOST_AGENCIES`` the one that ends first goes."""
    until = (fact.valid_until or date.fromordinal(fact.rated_on.toordinal() + VALID_DAYS)).toordinal()
    ratings = {**score.ratings, fact.agency: Rating(risk_of(fact), until, fact.rating_id)}
    if len(ratings) > MOST_AGENCIES:
        del ratings[min(ratings, key=lambda agency: (ratings[agency].until, agency))]
    return replace(score, ratings=ratings)


def take_note(score: ScoreState, fact: NoteMade) -> ScoreState:
    """The latest note counts; one that was made earlier than the known one is not news."""
    day = fact.made_on.toordinal()
    if score.note is not None and score.note.day > day:
        return score
    return replace(score, note=Note({"good": -1.0, "neutral": 0.0, "bad": 1.0}[fact.stance], day, fact.note_id))


def assessed(score: ScoreState, facts: ScoreInputs) -> ScoreInputs:
    """The facts with what others say as of their day: the mean of the ratings in force, the note as far as it still counts."""
    if not score.ratings and score.note is None:
        return facts
    valid = [rating for rating in score.ratings.values() if rating.until >= facts.day]
    note = score.note
    return replace(
        facts,
        rating=sum(r.risk for r in valid) / len(valid) if valid else 0.0,
        rating_ids=tuple(r.id for r in valid),
        note=0.0 if note is None else note.risk * 0.5 ** (max(0, facts.day - note.day) / NOTE_HALF_LIFE),
        note_ids=() if note is None else (note.id,),
    )
