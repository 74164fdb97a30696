"""What others say of a debtor, as a number: external ratings and salespeople's notes (the weight of it is learned)."""

from __future__ import annotations

from datetime import date

from msgspec.structs import replace

from agents.debtor.scoring.state import Note, Rating, ScoreState
from agents.debtor.scoring.values import ScoreInputs
from agents.score_model import logit
from schemas.events.assessments import NoteMade, RatingReceived

MAX_AGENCIES = 5
VALID_DAYS = 365
"""A rating without an end counts for a year."""
NOTE_HALF_LIFE = 90.0
"""Days after which a note counts half."""
NEUTRAL_PD = 0.02
"""A probability of default within a year that says nothing either way (the order of magnitude of small firms)."""
_STANCES = {"good": -1.0, "neutral": 0.0, "bad": 1.0}


def rating_risk(fact: RatingReceived) -> float:
    """The risk that a rating states, from -2 (as good as can be) to 2.

    >>> best = RatingReceived(customer_id="c", rating_id="r", agency="a", score=1.0, rated_on=date(2026, 3, 2))
    >>> rating_risk(best), rating_risk(best.model_copy(update={"probability_of_default": 0.02}))
    (-2.0, 0.0)
    """
    pd = fact.probability_of_default
    by_grade = 4.0 * (0.5 - fact.score)
    risk = by_grade if pd is None else (logit(min(max(pd, 1e-6), 1.0 - 1e-6)) - logit(NEUTRAL_PD)) / 1.2
    return round(max(-2.0, min(2.0, risk)), 3)


def record_rating(score: ScoreState, fact: RatingReceived) -> ScoreState:
    """The score with a new rating in place of the agency's former one; beyond ``MAX_AGENCIES`` the one that ends first goes.

    >>> from datetime import date
    >>> fact = RatingReceived(customer_id="c", rating_id="r", agency="a", score=0.25, rated_on=date(2026, 3, 2))
    >>> record_rating(ScoreState(), fact).ratings["a"].risk
    1.0
    """
    until = (fact.valid_until or date.fromordinal(fact.rated_on.toordinal() + VALID_DAYS)).toordinal()
    ratings = {**score.ratings, fact.agency: Rating(rating_risk(fact), until, fact.rating_id)}
    if len(ratings) > MAX_AGENCIES:
        del ratings[min(ratings, key=lambda agency: (ratings[agency].until, agency))]
    return replace(score, ratings=ratings)


def record_note(score: ScoreState, fact: NoteMade) -> ScoreState:
    """The score with the latest note; one that was made earlier than the known one changes nothing.

    >>> from datetime import date
    >>> fact = NoteMade(customer_id="c", note_id="n", author="sales", stance="bad", made_on=date(2026, 3, 2))
    >>> record_note(ScoreState(), fact).note.risk
    1.0
    """
    day = fact.made_on.toordinal()
    if score.note is not None and score.note.day > day:
        return score
    return replace(score, note=Note(_STANCES[fact.stance], day, fact.note_id))


def with_assessments(score: ScoreState, inputs: ScoreInputs) -> ScoreInputs:
    """The inputs with what others say as of their day: the mean of the ratings in force, the note as far as it still counts.

    >>> with_assessments(ScoreState(note=Note(1.0, 10, "n")), ScoreInputs(day=100)).note
    0.5
    """
    if not score.ratings and score.note is None:
        return inputs
    valid = [rating for rating in score.ratings.values() if rating.until >= inputs.day]
    note = score.note
    return replace(
        inputs,
        rating=sum(r.risk for r in valid) / len(valid) if valid else 0.0,
        rating_ids=tuple(r.id for r in valid),
        note=0.0 if note is None else note.risk * 0.5 ** (max(0, inputs.day - note.day) / NOTE_HALF_LIFE),
        note_ids=() if note is None else (note.id,),
    )
