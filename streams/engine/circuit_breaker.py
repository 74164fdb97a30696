"""Count what became of a topic-partition's last records, and say when too many were broken (D10). Pure: a function of the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streams.engine.slicing import Record

WINDOW = 200
AT_LEAST = 20


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The last ``count`` records, at most WINDOW: a bit each, 1 = broken, the newest is the lowest."""

    count: int = 0
    bits: int = 0

    @property
    def broken(self) -> int:
        return self.bits.bit_count()

    @property
    def too_many(self) -> bool:
        """More than half of them, of at least AT_LEAST, are broken.

        >>> Outcomes(20, 0b1111111111).too_many, Outcomes(20, 0b11111111111).too_many, Outcomes(19, 2**19 - 1).too_many
        (False, True, False)
        """
        return self.count >= AT_LEAST and self.broken * 2 > self.count

    def after(self, records: Sequence[Record], broken: Collection[int] = ()) -> CircuitBreaker:
        """With these records behind the others; ``broken``: their offsets."""
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


def read_outcomes(row: Sequence[int | str]) -> CircuitBreaker:
    """What ``as_row`` wrote.

    >>> read_outcomes(Outcomes(3, 5).as_row())
    Outcomes(count=3, bits=5)
    """
    count, bits = row
    return CircuitBreaker(int(count), int(str(bits), 16))
