"""Slices begin at most at a rate; who was quiet may begin at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.rate_limiter import RateLimiter


def test_after_a_quiet_time_a_burst_may_begin_at_once_but_no_more() -> None:
    limiter = RateLimiter(10, 3)
    for _ in range(3):
        assert limiter.wait_s(100.0) == 0.0
        limiter.acquire(100.0)
    assert round(limiter.wait_s(100.0), 6) == 0.1


@given(st.lists(st.floats(0, 0.3), max_size=100), st.integers(1, 5))
def test_no_stretch_of_time_sees_more_than_its_rate_and_the_burst(pauses: list[float], burst: int) -> None:
    limiter, now, starts = RateLimiter(20, burst), 0.0, []
    for pause in pauses:
        now += pause
        now += limiter.wait_s(now)
        limiter.acquire(now)
        starts.append(now)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= (starts[last] - starts[first]) * 20 + burst + 1e-6
