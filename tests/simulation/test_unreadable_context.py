"""A context that nobody can read: its partition stands still before it, and the others go on."""

from __future__ import annotations

import orjson

from tests.simulation.parts import SOURCES
from tests.simulation.world import Op, Setup, World


def test_nothing_is_decided_behind_a_context_that_cannot_be_read() -> None:
    sends = [Op(at, "send", (SOURCES[0], partition, 2)) for at in (1.0, 4.0, 9.0, 12.0) for partition in (0, 1)]
    script = [Op(0.0, "start", ("a",)), Op(0.0, "start", ("b",)), Op(8.0, "unreadable_context", (0,)), *sends]
    world = World(3, Setup(max_slice=10), sorted(script, key=lambda op: op.at)).run(calm_s=30.0)
    (unreadable,) = (e.offset for e in world.log("clock", 0).committed() if b"a form to come" in (e.value or b""))
    ticks = [
        [orjson.loads(entry.value or b"")["tick_offset"] or 0 for entry in world.log("journal", partition).committed()]
        for partition in (0, 1)
    ]
    assert 0 < max(ticks[0]) < unreadable < max(ticks[1])
    (violation,) = world.violations
    assert violation.startswith("not everything is applied") and "partition 0 is at" in violation
    assert any("context.unreadable" in line and f"offset={unreadable}" in line for line in world.history)
