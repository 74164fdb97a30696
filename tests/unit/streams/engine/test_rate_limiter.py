"""Slices begin at most at a rate; who was quiet may begin at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.rate_limiter import RateLimiter


def test_after_a_quiet_time_a_burst_may_begin_at_once_but_no_more() -> None:
    pace = RateLimiter(10, 3)
    for _ in range(3):
        assert pace.wait(100.0) == 0.0
        pace.spend(100.0)
    assert round(pace.wait(100.0), 6) == 0.1


@given(st.lists(st.floats(0, 0.3), max_size=100), st.integers(1, 5))
def test_no_stretch_of_time_sees_more_than_its_rate_and_the_burst(pauses: list[float], burst: int) -> None:
    pace, now, begun = RateLimiter(20, burst), 0.0, []
    for pause in pauses:
        now += pause
        now += pace.wait(now)
        pace.spend(now)
        begun.append(now)
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            assert last - first + 1 <= (begun[last] - begun[first]) * 20 + burst + 1e-6
