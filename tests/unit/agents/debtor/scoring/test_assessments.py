"""What others say of a debtor, as a number: ratings in force, and a note that fades."""

from __future__ import annotations

from datetime import date

import pytest

from agents.debtor.scoring.assessments import MAX_AGENCIES, rating_risk, record_note, record_rating, with_assessments
from agents.debtor.scoring.state import Note, Rating, ScoreState
from agents.debtor.scoring.values import ScoreInputs
from schemas.events.assessments import NoteMade, RatingReceived

DAY = date(2026, 3, 2)


def rating(agency: str = "a", *, score: float = 0.5, pd: float | None = None, until: date | None = None) -> RatingReceived:
    return RatingReceived(
        customer_id="c", rating_id=f"r-{agency}", agency=agency, score=score, probability_of_default=pd, rated_on=DAY,
        valid_until=until,
    )  # fmt: skip


@pytest.mark.parametrize(("score", "pd", "expected"), [
    (1.0, None, -2.0), (0.5, None, 0.0), (0.25, None, 1.0), (0.0, None, 2.0), (1.0, 0.02, 0.0), (0.5, 0.0, -2.0), (0.5, 1.0, 2.0),
    (0.5, 0.1, 1.412),
])  # fmt: skip
def test_a_rating_is_a_risk_by_its_probability_of_default_or_else_by_its_grade(
    score: float, pd: float | None, expected: float
) -> None:
    assert rating_risk(rating(score=score, pd=pd)) == expected


def test_a_rating_without_an_end_counts_for_a_year() -> None:
    assert record_rating(ScoreState(), rating()).ratings["a"].until == DAY.toordinal() + 365
    assert record_rating(ScoreState(), rating(until=DAY)).ratings["a"].until == DAY.toordinal()


def test_beyond_five_agencies_the_rating_that_ends_first_goes() -> None:
    score = ScoreState()
    for number in range(MAX_AGENCIES):
        score = record_rating(score, rating(f"a{number}", until=date(2026, 12, 31 - number)))
    score = record_rating(score, rating("last"))
    assert sorted(score.ratings) == ["a0", "a1", "a2", "a3", "last"]


@pytest.mark.parametrize(("made_on", "stance", "expected"), [
    (DAY, "bad", 1.0), (DAY, "neutral", 0.0), (date(2026, 3, 3), "good", -1.0), (date(2026, 3, 1), "good", 0.5),
])  # fmt: skip
def test_the_latest_note_counts(made_on: date, stance: str, expected: float) -> None:
    score = ScoreState(note=Note(0.5, DAY.toordinal(), "n-0"))
    fact = NoteMade(customer_id="c", note_id="n", author="sales", stance=stance, made_on=made_on)
    note = record_note(score, fact).note
    assert note is not None and note.risk == expected


@pytest.mark.parametrize(
    ("today", "ratings", "note"), [(100, 1.0, 1.0), (101, 2.0, 0.992328), (190, 2.0, 0.5), (201, 0.0, 0.459386)]
)
def test_ratings_in_force_are_averaged_and_a_note_halves_in_ninety_days(today: int, ratings: float, note: float) -> None:
    score = ScoreState(ratings={"a": Rating(0.0, 100, "r-a"), "b": Rating(2.0, 200, "r-b")}, note=Note(1.0, 100, "n"))
    inputs = with_assessments(score, ScoreInputs(day=today))
    assert inputs.rating == ratings
    assert inputs.note == pytest.approx(note, abs=1e-6)
    assert inputs.note_ids == ("n",)
    assert inputs.rating_ids == tuple(name for name, until in (("r-a", 100), ("r-b", 200)) if until >= today)


def test_inputs_stay_what_they_are_where_nobody_said_anything() -> None:
    inputs = ScoreInputs(day=100)
    assert with_assessments(ScoreState(), inputs) is inputs
