"""A context is composed and versioned by its content, live and in a replay alike."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from agents.clock.context import UNVERSIONED, compose
from schemas.events.clock import ContextSet
from schemas.events.models import ModelPublished
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished

BASE = compose(ContextSet(version=UNVERSIONED))
POLICY = PolicyPublished(version="ours-2", action="act")
RATES = RatesPublished(base="EUR", valid_from=date(2024, 3, 1), rates={"USD": Decimal("0.92")})
MODEL = ModelPublished(version="cells-7", examples=7, step=3)


def test_all_that_was_published_is_in_force() -> None:
    context = compose(BASE, policy=POLICY, rates=RATES, model=MODEL)
    assert (context.policy, context.rates, context.model.version) == (POLICY, RATES, "cells-7")


@pytest.mark.parametrize("part", [{"policy": POLICY}, {"rates": RATES}, {"model": MODEL}], ids=lambda part: next(iter(part)))
def test_a_part_that_changes_makes_another_version(part: dict[str, object]) -> None:
    assert compose(BASE, **part).version != BASE.version  # type: ignore[arg-type] # of the parameter's own type, each


def test_one_at_a_time_or_all_at_once_gives_the_same_version() -> None:
    at_once = compose(BASE, policy=POLICY, rates=RATES, model=MODEL)
    assert compose(compose(compose(BASE, model=MODEL), rates=RATES), policy=POLICY) == at_once


def test_what_is_not_published_stays() -> None:
    context = compose(BASE, policy=POLICY, rates=RATES)
    assert compose(context) == context


@pytest.mark.parametrize("version", ["none", UNVERSIONED, "another"])
def test_the_version_before_is_no_part_of_the_content(version: str) -> None:
    assert compose(ContextSet(version=version)).version == BASE.version


def test_a_step_in_which_nothing_was_learned_makes_no_new_context() -> None:
    learned = compose(BASE, model=MODEL)
    assert compose(learned, model=MODEL.model_copy(update={"step": 4})) == learned
    assert learned.model.step == -1
