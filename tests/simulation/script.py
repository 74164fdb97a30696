"""Histories from seeds, and the shortest script that still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.simulation.check import check
from tests.simulation.loop import StuckError
from tests.simulation.parts import PARTITIONS, SOURCES
from tests.simulation.world import Op, Setup, World

SECONDS = 15.0
WORKERS = ("a", "b", "c")
WEIGHTS = {
    "send": 8,
    "send_broken": 2,
    "resume": 1,
    "fetch_fails": 1,
    "transact": 3,
    "kill": 2,
    "freeze": 2,
    "start": 3,
    "start_older": 1,
    "stop": 1,
    "rebalance": 2,
    "refuse_commit": 2,
    "lose_answer": 2,
    "fail_restore": 1,
    "broker_away": 1,
    "stale_tick": 1,
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a seed stands for. ``kept_steps``: the steps of the full script that are left."""

    seed: int
    setup: Setup
    script: tuple[Op, ...]
    kept_steps: tuple[int, ...]

    def with_only(self, steps: Sequence[int]) -> Scenario:
        """Of the full script only these steps (numbers within the full script)."""
        full = dict(zip(self.kept_steps, self.script, strict=True))
        return Scenario(self.seed, self.setup, tuple(full[n] for n in steps), tuple(steps))


def scenario(seed: int) -> Scenario:
    chance = Random(f"script {seed}")
    setup = Setup(
        order="replay" if chance.random() < 0.2 else "arrival",
        replay=chance.random() < 0.2,
        max_slice=chance.choice((1, 2, 3, 10)),
    )
    kinds = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=chance.randint(8, 18))
    ops = [Op(0.0, "start", ("a",)), Op(chance.choice((0.0, 3.0)), "start", ("b", chance.choice((0.0, -5.0))))]
    ops += [Op(round(chance.uniform(0.5, SECONDS), 1), kind, _args(kind, chance)) for kind in kinds]
    script = tuple(sorted(ops, key=lambda op: op.at))
    return Scenario(seed, setup, script, tuple(range(len(script))))


def _args(kind: str, chance: Random) -> tuple[object, ...]:
    topic, partition, worker = chance.choice(SOURCES), chance.randrange(PARTITIONS), chance.choice(WORKERS)
    upstream = (chance.randint(1, 3), chance.choice((0.1, 2.0, 6.0)), chance.choice(("commits", "aborts")))
    arguments: dict[str, tuple[object, ...]] = {
        "send": (topic, partition, chance.randint(1, 5)),
        "send_broken": (topic, partition, chance.choice((1, 4))),
        "resume": (topic, partition),
        "fetch_fails": (partition,),
        "transact": (topic, partition, *upstream),
        "kill": (worker,),
        "stop": (worker,),
        "start": (worker, chance.choice((0.0, 0.0, -5.0, 5.0))),
        "start_older": (worker,),
        "freeze": (worker, chance.choice((2.0, 9.0))),
        "broker_away": (chance.choice((0.5, 4.0, 8.0)),),
        "stale_tick": (partition, chance.randint(1, 3)),
    }
    return arguments.get(kind, ())


def play(case: Scenario) -> tuple[World, list[str]]:
    """The history of a scenario, and what is wrong with it."""
    world = World(case.seed, case.setup, case.script)
    try:
        world.run()
    except StuckError as error:
        world.violate(str(error))
    return world, check(world)


def shrink(case: Scenario, fails: Callable[[Scenario], bool], max_tries: int = 400) -> Scenario:
    """Drop steps as long as it fails (delta debugging: halves, quarters, ... single steps)."""
    steps, size, tried = list(case.kept_steps), max(len(case.kept_steps) // 2, 1), 0
    while True:
        start, dropped = 0, False
        while start < len(steps) and tried < max_tries:
            tried += 1
            fewer = steps[:start] + steps[start + size :]
            if fails(case.with_only(fewer)):
                steps, dropped = fewer, True
            else:
                start += size
        if tried >= max_tries or (size == 1 and not dropped):
            return case.with_only(steps)
        if not dropped:
            size = max(size // 2, 1)


def failure_report(case: Scenario, world: World, wrong: Sequence[str]) -> str:
    """A failure for people: what is wrong, the shortest script, what happened, and how to see it again."""
    return "\n".join(
        [
            f"seed {case.seed} ({case.setup}) fails:",
            *(f"  {line}" for line in wrong[:5]),
            f"the shortest script that fails ({len(case.script)} steps):",
            *(f"  {number:2d}  {op}" for number, op in zip(case.kept_steps, case.script, strict=True)),
            "what happened:",
            *(f"  {line}" for line in world.history[-80:]),
            f"again: python -m tests.simulation --seed {case.seed} --steps {','.join(map(str, case.kept_steps))}",
        ]
    )
