"""The stage machine as tables of cases: notices in the order in which they arrive, and the stage that they amount to."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.insolvency.decide import (
    ALARM,
    DEFAULTED,
    MAX_NOTICES,
    add_notice,
    confirm_possible,
    forget_possible,
    is_alarm,
    is_default,
)
from agents.debtor.insolvency.state import Insolvency, Notice
from schemas.events.insolvency import Stage

Arrival = tuple[str, Stage, int] | tuple[str, Stage, int, str]
"""Notice id, stage, day of publication, and the notice that it corrects; an id that begins with ``?`` is a possible match."""


def after(arrivals: list[Arrival]) -> Insolvency:
    """What notices amount to that arrive one after the other."""
    insolvency = Insolvency()
    for notice_id, stage, day, *corrects in arrivals:
        notice = Notice(notice_id, stage, certain=not notice_id.startswith("?"), published_on=day)
        insolvency = add_notice(insolvency, notice, corrects[0] if corrects else None)
    return insolvency


CASES = [
    pytest.param([], "none", "none", id="no notice"),
    pytest.param([("n1", "petition", 10)], "petition", "none", id="a petition"),
    pytest.param([("n1", "petition", 10), ("n2", "preliminary", 12), ("n3", "opened", 20)], "opened", "none", id="step by step"),
    pytest.param([("n1", "opened", 10), ("n2", "closed", 90)], "closed", "none", id="opened and closed"),
    pytest.param([("n1", "petition", 10), ("n2", "dismissed", 20)], "dismissed", "none", id="a petition that was dismissed"),
    pytest.param([("n1", "petition", 10), ("n2", "refused", 20)], "refused", "none", id="refused for lack of assets"),
    pytest.param(
        [("n2", "opened", 20), ("n1", "petition", 10)], "opened", "none",
        id="the day of publication counts, not the arrival",
    ),
    pytest.param([("n1", "petition", 10), ("n2", "opened", 10)], "opened", "none", id="on the same day the later arrival counts"),
    pytest.param([("n1", "opened", 10), ("n2", "cancelled", 12, "n1")], "none", "none", id="a cancellation retracts its notice"),
    pytest.param(
        [("n1", "petition", 5), ("n2", "opened", 10), ("n3", "cancelled", 12, "n2")], "petition", "none", id="and that one only"
    ),
    pytest.param(
        [("n1", "opened", 10), ("n2", "cancelled", 12)], "opened", "none",
        id="a cancellation of nothing known changes nothing",
    ),
    pytest.param([("n1", "opened", 10), ("n2", "petition", 10, "n1")], "petition", "none", id="a correction replaces its notice"),
    pytest.param(
        [("n1", "opened", 10), ("n2", "petition", 9, "n0")], "opened", "none",
        id="a correction of one that is not known is added",
    ),
    pytest.param([("?1", "opened", 10)], "none", "opened", id="a possible match is kept apart"),
    pytest.param([("?1", "opened", 10), ("n1", "petition", 12)], "petition", "opened", id="from what is certain"),
    pytest.param([("?1", "petition", 10), ("?2", "opened", 12)], "none", "opened", id="its stages follow each other too"),
    pytest.param(
        [("?1", "opened", 10), ("n1", "opened", 10, "?1")], "opened", "none",
        id="a certain match may correct a possible one",
    ),
    pytest.param([("?1", "opened", 10), ("?2", "cancelled", 12, "?1")], "none", "none", id="a possible match that was cancelled"),
]  # fmt: skip


@pytest.mark.parametrize(("arrivals", "stage", "possible"), CASES)
def test_the_stage(arrivals: list[Arrival], stage: Stage, possible: Stage) -> None:
    insolvency = after(arrivals)
    assert (insolvency.stage, insolvency.possible) == (stage, possible)


CASES_OF_ANSWERS = [
    pytest.param([("?1", "opened", 10)], "opened", "none", id="confirmed it is the stage, rejected there is none"),
    pytest.param([("?1", "opened", 10), ("?2", "closed", 90)], "closed", "none", id="a confirmed match brings its whole course"),
    pytest.param(
        [("n1", "petition", 5), ("?1", "opened", 10)],
        "opened",
        "petition",
        id="what was certain stays when it is rejected",
    ),
    pytest.param(
        [("n1", "opened", 10), ("?1", "petition", 5)],
        "opened",
        "opened",
        id="an older possible match changes no stage",
    ),
    pytest.param([], "none", "none", id="nothing to answer"),
]


@pytest.mark.parametrize(("arrivals", "confirmed", "rejected"), CASES_OF_ANSWERS)
def test_a_person_answers_a_possible_match(arrivals: list[Arrival], confirmed: Stage, rejected: Stage) -> None:
    insolvency = after(arrivals)
    yes, no = confirm_possible(insolvency), forget_possible(insolvency)
    assert (yes.stage, yes.possible, no.stage, no.possible) == (confirmed, "none", rejected, "none")
    assert all(notice.certain for notice in (*yes.notices, *no.notices))
    assert len(yes.notices) == len(insolvency.notices)


CASES_OF_STAGES: list[tuple[Stage, bool, bool]] = [
    ("none", False, False),
    ("petition", True, False),
    ("preliminary", True, True),
    ("opened", True, True),
    ("refused", True, True),
    ("reorganisation", True, True),
    ("converted", True, True),
    ("plan", False, False),
    ("closed", False, False),
    ("dismissed", False, False),
    ("cancelled", False, False),
    ("solvent_winding_up", False, False),
]


@pytest.mark.parametrize(("stage", "alarm", "default"), CASES_OF_STAGES)
def test_what_a_stage_means(stage: Stage, alarm: bool, default: bool) -> None:
    assert (is_alarm(stage), is_default(stage)) == (alarm, default)


def test_every_stage_of_the_contract_has_a_meaning() -> None:
    assert {stage for stage, _, _ in CASES_OF_STAGES} == set(get_args(Stage))
    assert DEFAULTED < ALARM


def test_only_the_last_notices_are_remembered_by_their_day_of_publication() -> None:
    arrivals: list[Arrival] = [(f"n{day}", "petition", day) for day in range(MAX_NOTICES + 5, 0, -1)]
    insolvency = after([*arrivals, ("late", "opened", 3)])
    assert [notice.published_on for notice in insolvency.notices] == list(range(6, MAX_NOTICES + 6))
    assert insolvency.stage == "petition"


@given(st.permutations([("n1", "petition", 10), ("n2", "preliminary", 12), ("n3", "opened", 20), ("?1", "closed", 30)]))
def test_the_order_of_arrival_does_not_matter_between_days(arrivals: list[Arrival]) -> None:
    insolvency = after(arrivals)
    assert (insolvency.stage, insolvency.possible) == ("opened", "closed")
    assert [notice.notice_id for notice in insolvency.notices] == ["n1", "n2", "n3", "?1"]
