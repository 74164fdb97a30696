"""The stage machine as tables of cases: notices in the order in which they arrive, and the stage that they amount to."""

from __future__ import annotations

from typing import get_args

import msgspec
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


# -- proceedings
OF = tuple[str, Stage, int, str]
"""Notice id, stage, day, and ``register`` or ``register/proceeding``."""
CASES_OF_PROCEEDINGS = [
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "none", 20, "DE/A")], "opened", id="a list of claims changes nothing"),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "none", 20, "DE")], "opened", id="whatever proceeding it names"),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "closed", 20, "DE/A")], "closed", id="a proceeding ends"),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "closed", 20, "DE/B")], "opened", id="an end of another one ends nothing"),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "closed", 20, "AT/A")], "opened", id="nor one of another register"),
    pytest.param(
        [("n1", "opened", 10, "DE/A"), ("n2", "petition", 20, "DE/B")], "opened",
        id="a later petition of another creditor makes it no lighter",
    ),
    pytest.param(
        [("n1", "opened", 10, "DE/A"), ("n2", "petition", 20, "DE/B"), ("n3", "dismissed", 30, "DE/B")], "opened",
        id="one petition is dismissed, the other proceeding goes on",
    ),
    pytest.param(
        [("n1", "petition", 10, "DE/A"), ("n2", "petition", 20, "DE/B"), ("n3", "dismissed", 30, "DE/B")], "petition",
        id="of two petitions one is left",
    ),
    pytest.param(
        [("n1", "opened", 10, "DE/A"), ("n2", "plan", 20, "DE/A"), ("n3", "closed", 30, "DE/B")], "plan",
        id="within a proceeding the last notice counts, across them the gravest",
    ),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "cancelled", 20, "DE/A")], "none", id="a proceeding that is cancelled"),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "cancelled", 20, "DE/B")], "opened", id="a cancellation of another one"),
    pytest.param(
        [("n1", "petition", 10, "DE"), ("n2", "opened", 20, "DE/A"), ("n3", "closed", 30, "DE/A")], "closed",
        id="a notice that names no proceeding is part of the one that there is",
    ),
    pytest.param([("n1", "opened", 10, "DE/A"), ("n2", "closed", 20, "DE")], "closed", id="an unnamed end ends the only one"),
    pytest.param(
        [("n1", "opened", 10, "DE/A"), ("n2", "opened", 15, "DE/B"), ("n3", "closed", 20, "DE")], "opened",
        id="but not one of two: nobody knows which",
    ),
    pytest.param([("n1", "opened", 10, "DE"), ("n2", "closed", 20, "AT")], "opened", id="nor one in another register"),
    pytest.param(
        [("n1", "opened", 10, ""), ("n2", "closed", 20, "DE/A")], "closed",
        id="a notice written before proceedings were told apart ends as it did",
    ),
    pytest.param(
        [("n1", "opened", 10, ""), ("n2", "closed", 20, ""), ("n3", "petition", 30, "DE/A")], "petition",
        id="and such a course is followed by the next proceeding",
    ),
]  # fmt: skip


def of_proceedings(arrivals: list[OF], certain: bool = True) -> Insolvency:
    """What notices of several proceedings amount to."""
    insolvency = Insolvency()
    for notice_id, stage, day, place in arrivals:
        register, _, proceeding = place.partition("/")
        insolvency = add_notice(insolvency, Notice(notice_id, stage, certain, day, register, proceeding), None)
    return insolvency


@pytest.mark.parametrize(("arrivals", "stage"), CASES_OF_PROCEEDINGS)
def test_the_gravest_stage_over_all_proceedings(arrivals: list[OF], stage: Stage) -> None:
    assert of_proceedings(arrivals).stage == stage
    assert of_proceedings(arrivals, certain=False).possible == stage
    assert confirm_possible(of_proceedings(arrivals, certain=False)).stage == stage


@given(st.permutations([("n1", "opened", 10, "DE/A"), ("n2", "petition", 12, "DE/B"), ("n3", "dismissed", 20, "DE/B")]))
def test_proceedings_do_not_mind_the_order_of_arrival(arrivals: list[OF]) -> None:
    assert of_proceedings(arrivals).stage == "opened"


def test_a_retraction_ends_no_proceeding() -> None:
    course = of_proceedings([("n1", "petition", 5, "DE/A"), ("n2", "opened", 10, "DE/A")])
    assert add_notice(course, Notice("n3", "cancelled", True, 12, "DE", "A"), "n2").stage == "petition"
    assert add_notice(course, Notice("n3", "cancelled", True, 12, "DE", "A"), "n0").stage == "opened", "n0 is not known"


def test_a_notice_that_was_wrong_may_be_corrected_to_one_that_changes_nothing() -> None:
    course = of_proceedings([("n1", "opened", 5, "DE/A")])
    assert add_notice(course, Notice("n2", "none", True, 12, "DE", "A"), "n1") == Insolvency()


def test_what_a_stage_follows_from_is_never_forgotten_for_many_other_notices() -> None:
    many: list[OF] = [(f"p{n}", "petition", n, f"DE/{n}") for n in range(5, 5 + 2 * MAX_NOTICES)]
    steps: list[OF] = [(f"s{n}", "preliminary", n, "DE/A") for n in range(5, 5 + MAX_NOTICES)]
    assert of_proceedings([("n1", "opened", 1, "DE/0"), *many, *steps]).stage == "opened"
    claims: list[OF] = [(f"c{n}", "none", n, "DE/0") for n in range(5, 5 + 2 * MAX_NOTICES)]
    assert of_proceedings([("n1", "opened", 1, "DE/0"), *claims]).stage == "opened"


def test_a_row_of_an_earlier_version_is_read() -> None:
    row = b'{"stage":"opened","notices":[["n1","opened",true,10],["n2","none",true,12],["n3","cancelled",true,14]]}'
    insolvency = msgspec.json.decode(row, type=Insolvency)
    assert insolvency.notices[0] == Notice("n1", "opened", True, 10)
    assert add_notice(insolvency, Notice("n4", "closed", True, 20, "DE", "A"), None).stage == "closed"
    assert add_notice(insolvency, Notice("n4", "petition", False, 20, "DE", "A"), None).stage == "opened"
