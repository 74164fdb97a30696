"""What the chaos run and the processes that it disturbs tell each other: files in a folder, each claimed once.

An *order* says what the next process that comes by shall suffer. A *clock* runs faster than the wall's, so that invoices of
months fall due within minutes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
"""Where every simulated portfolio begins."""
CLAIMED = "claimed.jsonl"


class InjectedError(Exception):
    """What an order makes a process suffer."""


@dataclass(frozen=True, slots=True)
class FastClock:
    """``began`` in seconds of the Unix epoch; ``speed`` simulated seconds for each real one, for ``lasts`` real seconds.

    Then it goes as fast as the wall's: while all drains, no day ends that would bring new work.
    """

    began: float
    speed: float
    lasts: float = float("inf")

    def now(self) -> datetime:
        """The simulated instant."""
        passed = time.time() - self.began
        fast = min(passed, self.lasts)
        return FIRST_DAY + timedelta(seconds=fast * self.speed + passed - fast)

    def wait_s(self, until: datetime) -> float:
        """Real seconds until a simulated instant."""
        return (until - self.now()).total_seconds() / self.speed

    def as_datetime(self) -> type[datetime]:
        """``datetime`` with this clock's ``now``: for a module that asks the wall."""
        clock = self

        class Fast(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Self:
                at = clock.now().astimezone(tz)
                return cls(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, at.tzinfo)

        return Fast


class Orders:
    """The folder of orders; given by one process, claimed by others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "orders"
        self._log = folder / CLAIMED
        self._folder.mkdir(parents=True, exist_ok=True)

    def give(self, kind: str, number: int, seconds: float = 0.0) -> None:
        """Whoever asks for this kind next shall suffer it."""
        path = self._folder / f"{kind}.{number}"
        hidden = path.with_name(f".{path.name}")
        hidden.write_text(str(seconds))
        hidden.replace(path)

    def claim(self, kind: str) -> float | None:
        """The seconds of an order of this kind, which nobody else gets; None when there is none."""
        for name in sorted(os.listdir(self._folder)):  # noqa: PTH208 - asked with every commit
            if name.partition(".")[0] == kind:
                path = self._folder / name
                mine = path.with_name(f".{name}.{os.getpid()}")
                try:
                    path.rename(mine)
                except FileNotFoundError:
                    continue  # somebody was faster
                seconds = float(mine.read_text() or 0.0)
                mine.unlink()
                self._note(kind)
                return seconds
        return None

    def withdraw(self) -> None:
        """Nobody shall suffer any more."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def _note(self, kind: str) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps({"kind": kind, "pid": os.getpid(), "at": time.time()}) + "\n")

    def claimed(self) -> list[dict[str, Any]]:
        """What was suffered, in its order."""
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text().splitlines()]


def stage_of(orders: Orders) -> Callable[[str], None]:
    """The hook at which a worker's commits fail: ``before`` the transaction, ``written`` in it, ``committed`` after it."""

    def stage(name: str) -> None:
        if name == "written":
            held_s = orders.claim("hold")
            if held_s is not None:
                time.sleep(held_s)  # in mid-slice: time enough for a signal
        if orders.claim(f"commit-{name}") is not None:
            raise InjectedError(f"a commit fails, {name}")

    return stage
