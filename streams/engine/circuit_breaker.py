"""Count what became of a topic-partition's last records, and say when too many were broken. Pure: a function of the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streams.kafka.record import KafkaRecord

WINDOW = 200
MIN_RECORDS = 20


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Protects a partition from a source that has gone bad: it opens when most of the last records could not be applied.

    A sender that is deployed with a fault would turn thousands of good facts into dead letters that people have to correct one
    by one. An open breaker pauses the topic-partition instead, until a person resumes it; the others run on ("Nothing is
    dropped" in the README). It is part of the checkpoint, so that whoever takes the partition over judges the same records.

    ``count`` of the last records are judged, at most WINDOW; ``bits`` holds one for each: 1 = broken, the newest is the lowest.
    """

    count: int = 0
    bits: int = 0

    @property
    def broken_count(self) -> int:
        """How many of the judged records were broken."""
        return self.bits.bit_count()

    @property
    def is_open(self) -> bool:
        """Whether more than half of the judged records, of at least MIN_RECORDS, are broken.

        >>> [CircuitBreaker(count, bits).is_open for count, bits in ((20, 2**10 - 1), (20, 2**11 - 1), (19, 2**19 - 1))]
        [False, True, False]
        """
        return self.count >= MIN_RECORDS and self.broken_count * 2 > self.count

    def with_records(self, records: Sequence[KafkaRecord], broken: Collection[int] = ()) -> CircuitBreaker:
        """The breaker after some more records; ``broken``: the offsets of those that could not be applied.

        >>> from types import SimpleNamespace as Record
        >>> CircuitBreaker().with_records([Record(offset=7), Record(offset=8)], broken={7})
        CircuitBreaker(count=2, bits=2)
        """
        last = records[-WINDOW:]
        bits = self.bits
        if broken:
            for record in last:
                bits = bits << 1 | (record.offset in broken)
        else:
            bits <<= len(last)
        return CircuitBreaker(min(WINDOW, self.count + len(last)), bits & ((1 << WINDOW) - 1))

    def as_row(self) -> list[int | str]:
        """For JSON: the count, and the bits in hexadecimal."""
        return [self.count, f"{self.bits:x}"]


def read_breaker(row: Sequence[int | str]) -> CircuitBreaker:
    """The breaker that ``as_row`` wrote.

    >>> read_breaker(CircuitBreaker(3, 5).as_row())
    CircuitBreaker(count=3, bits=5)
    """
    count, bits = row
    return CircuitBreaker(int(count), int(str(bits), 16))
