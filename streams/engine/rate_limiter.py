"""How often a worker begins a slice: at most so many a second, so that many partitions with few events each gather instead."""

from __future__ import annotations


class RateLimiter:
    """Lets at most ``per_second`` begin on average, ``burst`` at once; times are seconds of one clock, handed in.

    The generic cell rate algorithm (ITU-T I.371): the time at which the next one would be due if they came evenly.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._every, self._burst = 1.0 / per_second, burst
        self._due = float("-inf")

    def wait_s(self, now: float) -> float:
        """Seconds until the next may begin; 0 = now.

        >>> limiter = RateLimiter(10, 2)
        >>> for _ in range(2): limiter.acquire(0.0)
        >>> round(limiter.wait_s(0.0), 3), limiter.wait_s(0.1)
        (0.1, 0.0)
        """
        return max(0.0, self._due - (self._burst - 1) * self._every - now)

    def acquire(self, now: float) -> None:
        """Count one that begins now, whether or not ``wait_s`` said that it may."""
        self._due = max(self._due, now) + self._every
