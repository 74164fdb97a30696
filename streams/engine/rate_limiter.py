"""How often a worker begins a slice: at most so many a second, so that many partitions with few events each gather instead."""

from __future__ import annotations


class RateLimiter:
    """At most ``per_second`` on average, ``burst`` at once; times are seconds of one clock, handed in.

    The generic cell rate algorithm (ITU-T I.371): the time at which the next one would be due if they came evenly.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._every, self._burst = 1.0 / per_second, burst
        self._due = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until the next may begin; 0 = now.

        >>> pace = Pace(10, 2)
        >>> for _ in range(2): pace.spend(0.0)
        >>> round(pace.wait(0.0), 3), pace.wait(0.1)
        (0.1, 0.0)
        """
        return max(0.0, self._due - (self._burst - 1) * self._every - now)

    def spend(self, now: float) -> None:
        """One begins."""
        self._due = max(self._due, now) + self._every
