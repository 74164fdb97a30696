"""Thousands of histories of the engine against a simulated broker; and the engine broken on purpose, which they must notice."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.__main__ import fails, first_failure
from tests.simulation.mutants import MUTANTS
from tests.simulation.script import play, scenario

HISTORIES, AT_ONCE = 10_000, 250
SHORT = 8
NOTICED_WITHIN = 300


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_history_breaks_a_promise() -> None:
    """Records applied once and in order, no jump, no tick before its cut, rows = fold of the journal, all applied in the end."""
    chunks = [range(start, start + AT_ONCE) for start in range(0, HISTORIES, AT_ONCE)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for failed in pool.map(first_failure, chunks):
            assert failed is None, f"\n{failed[1]}"


def test_some_histories_hold() -> None:
    failed = first_failure(range(100))
    assert failed is None, f"\n{failed[1]}"


def test_a_seed_always_tells_the_same_history() -> None:
    first, second = (play(scenario(4))[0].history for _ in range(2))
    assert first == second
    assert len(first) > 10


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_noticed_and_its_history_is_short(mutant: str) -> None:
    seed = next((seed for seed in range(NOTICED_WITHIN) if fails(scenario(seed), mutant)), None)
    assert seed is not None, f"{mutant} went unnoticed in {NOTICED_WITHIN} histories"
    failed = first_failure(range(seed, seed + 1), mutant)
    assert failed is not None
    short, report = failed
    assert len(short.script) <= SHORT
    assert f"--seed {seed} --steps" in report
    assert fails(short, mutant)
    assert not fails(short), "the script alone must not fail: it is the mutant that does"
