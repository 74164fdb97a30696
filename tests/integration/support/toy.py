"""A brain that counts per customer, and a worker with it: `python -m tests.integration.support.toy FAIL_SHARE [ROW_FORMAT]`."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

import orjson

from agents.brain import FoldResult, Received
from schemas.events.clock import ContextSet
from schemas.events.customers import CustomerUpdated
from schemas.events.envelope import Output
from schemas.events.models import ModelPublished
from schemas.ids import stable_id


@dataclass
class ToyBrain:
    """Per customer: number of events and the sum of their amounts; an output per event with the event's id as its cause."""

    rows: dict[str, tuple[int, str]] = field(default_factory=dict)

    def restore(self, key: str, value: bytes | None) -> None:
        if value is not None:
            count, total = orjson.loads(value)
            self.rows[key] = (count, total)

    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,
        max_deadlines: int = 500,
        paused: frozenset[str] = frozenset(),
        previous_tick: datetime | None = None,
    ) -> FoldResult:
        folded = FoldResult(applied=len(records))
        changed: dict[str, tuple[int, str]] = {}
        for received in records:
            customer = received.event.customer_id or "?"
            count, total = changed.get(customer) or self.rows.get(customer, (0, "0"))
            amount: Decimal = getattr(received.event.data, "amount", Decimal(0))
            changed[customer] = (count + 1, str(Decimal(total) + amount))
            folded.outputs.append(
                Output(
                    topic="customers" if replay and step < -1 else "alerts",
                    key=customer,
                    type="duewatch.toy.v1",
                    id=stable_id("toy", received.event.id),
                    time=received.event.time,
                    recorded=received.event.recorded,
                    data=CustomerUpdated(customer_id=customer, name=str(count + 1)),
                    causation_id=received.event.id,
                )
            )
        folded.rows = {customer: orjson.dumps(row) for customer, row in changed.items()}
        return folded

    def on_committed(self, result: FoldResult) -> None:
        for key, value in result.rows.items():
            self.restore(key, value)


@dataclass
class ToyLearner:
    """Publishes a model when all partitions have ended a step."""

    ended: dict[int, set[int]] = field(default_factory=dict)

    def restore(self, key: str, value: bytes | None) -> None:
        if value is not None:
            self.ended[int(key)] = set(orjson.loads(value))

    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,
        max_deadlines: int = 500,
        paused: frozenset[str] = frozenset(),
        previous_tick: datetime | None = None,
    ) -> FoldResult:
        folded = FoldResult(applied=len(records))
        ended = {number: set(partitions) for number, partitions in self.ended.items()}
        for received in records:
            data = received.event.data
            partitions = ended.setdefault(data.step, set())  # type: ignore[attr-defined]
            partitions.add(data.partition)  # type: ignore[attr-defined]
            folded.rows[str(data.step)] = orjson.dumps(sorted(partitions))  # type: ignore[attr-defined]
            if len(partitions) == data.partitions:  # type: ignore[attr-defined]
                number: int = data.step  # type: ignore[attr-defined]
                model = ModelPublished(version=f"toy-{number}", step=number)
                at = received.event.time
                folded.outputs.append(
                    Output("models", "model", "duewatch.model.published.v1", stable_id("m", number), at, at, model)
                )
        return folded

    def on_committed(self, result: FoldResult) -> None:
        for key, value in result.rows.items():
            self.restore(key, value)


def fail_sometimes(share: float) -> object:
    """A stage that raises at random, in equal parts before the transaction, in it, and after it."""
    chance = random.Random()

    def stage(_name: str) -> None:
        if chance.random() < share / 3:
            raise RuntimeError(f"injected: {_name}")

    return stage


def main() -> int:
    from agents.registry import AGENTS
    from streams.errors import UserError
    from streams.settings import load_settings
    from streams.worker.app import build_app
    from streams.worker.run import run

    settings = load_settings()
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    stage = fail_sometimes(share) if share else None
    if len(sys.argv) > 2:
        AGENTS["debtor"] = replace(AGENTS["debtor"], row_format=int(sys.argv[2]))
    try:
        return run(settings, lambda: build_app(settings, brains={"debtor": ToyBrain, "learner": ToyLearner}, stage=stage))  # type: ignore[arg-type]
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
