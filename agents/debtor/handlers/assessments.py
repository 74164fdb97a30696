"""What ratings of agencies and notes of people change at once: both bear on the score. Pure."""

from __future__ import annotations

from agents.debtor.scoring.assessments import record_note, record_rating
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.assessments import NoteMade, RatingReceived
from schemas.events.envelope import Rejection


def take_rating(uow: UnitOfWork, fact: RatingReceived, _content: str) -> Rejection | None:
    uow.set_score(record_rating(uow.score, fact))
    uow.needs_score = True
    return None


def take_note(uow: UnitOfWork, fact: NoteMade, _content: str) -> Rejection | None:
    uow.set_score(record_note(uow.score, fact))
    uow.needs_score = True
    return None
