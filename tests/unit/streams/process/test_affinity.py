"""A worker's Python stays on its core; what it starts for other work does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from streams.errors import UserError
from streams.process.affinity import on_all_cores, pin_to_core

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system lets no process choose its cores")


T = TypeVar("T")


def cores() -> set[int]:
    return os.sched_getaffinity(0)


def in_a_thread(call: Callable[[], T]) -> T:
    """In a thread of its own, so that pytest's keeps its cores."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_threads_that_are_started_later_stay_on_the_core_too() -> None:
    last = max(cores())

    def stayed() -> tuple[set[int], set[int]]:
        pin_to_core(last)
        return cores(), in_a_thread(cores)

    assert in_a_thread(stayed) == ({last}, {last})


def test_what_is_started_everywhere_may_run_on_all_cores_and_the_starter_stays() -> None:
    given, last = cores(), max(cores())
    told = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]

    def stayed() -> tuple[set[int], str, set[int]]:
        pin_to_core(last)
        with on_all_cores():
            child = subprocess.run(told, capture_output=True, text=True, check=True)
            found = in_a_thread(cores), child.stdout.strip()
        return *found, cores()

    assert in_a_thread(stayed) == (given, str(sorted(given)), {last})


def test_the_starter_stays_also_when_it_fails() -> None:
    last = max(cores())

    def stayed() -> set[int]:
        pin_to_core(last)
        with pytest.raises(ValueError, match="no broker"), on_all_cores():
            raise ValueError("no broker")
        return cores()

    assert in_a_thread(stayed) == {last}


def test_a_core_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"DUEWATCH_CORE is 4095, but the cores are \d.*: name one of them, or leave it out"):
        pin_to_core(4095)
