"""What is computed from measurements: rates, percentiles, ratios, how flat, what a fleet carries. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

KEYS = (
    "pipeline_to_react",
    "pipeline_to_quixstreams",
    "pipeline_to_stock_faust",
    "pipeline_to_ceiling",
    "pipeline_to_react_cpu",
    "react_events_s",
    "pipeline_events_s",
    "pipeline_two_workers_events_s",
    "quixstreams_events_s",
    "stock_faust_events_s",
    "ceiling_events_s",
    "latency_p50_ms",
    "latency_p99_ms",
    "queryable_p99_ms",
    "restore_s",
    "restore_rows",
    "takeover_s",
    "takeover_session_timeout_s",
    "bytes_per_debtor",
    "bytes_per_item",
    "sink_rows_s",
    "machine",
)
"""Keys that bench.json always has, ratios first; null where the part that measures it was left out or failed (see ``why``)."""

RATIOS = {
    "pipeline_to_react": ("pipeline_events_s", "react_events_s"),
    "pipeline_to_quixstreams": ("pipeline_events_s", "quixstreams_events_s"),
    "pipeline_to_stock_faust": ("pipeline_events_s", "stock_faust_events_s"),
    "pipeline_to_ceiling": ("pipeline_events_s", "ceiling_events_s"),
    "pipeline_to_react_cpu": ("react_cpu_us", "worker_cpu_us"),
}
"""Ratio -> (dividend, divisor). The last is of processor time, so other load on the machine does not change it."""

RATES = {
    "react": "react_events_s",
    "pipeline": "pipeline_events_s",
    "two_workers": "pipeline_two_workers_events_s",
    "quixstreams": "quixstreams_events_s",
    "stock_faust": "stock_faust_events_s",
    "ceiling": "ceiling_events_s",
}
"""Part -> the key of its rate; these parts are compared with each other."""


class Commit(NamedTuple):
    """A committed slice: when (seconds), of how many events."""

    at: float
    events: int


def commit_rate(commits: Iterable[Commit]) -> float:
    """Events per second from the first to the last commit; what the first one holds was worked on before.

    >>> commit_rate([Commit(10.0, 500), Commit(11.0, 500), Commit(12.0, 500)])
    500.0
    """
    ordered = sorted(commits)
    if len(ordered) < 2 or ordered[-1].at <= ordered[0].at:
        raise ValueError("too few commits to tell a rate: send more events")
    return sum(commit.events for commit in ordered[1:]) / (ordered[-1].at - ordered[0].at)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of the values do not exceed (nearest rank). Raises ValueError when there are none.

    >>> percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5)
    3.0
    """
    if not values:
        raise ValueError("nothing was measured: no output came back for any event that was sent")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(costs: Sequence[float]) -> float:
    """The highest cost divided by the lowest: 1.0 is perfectly flat.

    >>> spread([80.0, 88.0, 84.0])
    1.1
    """
    return max(costs) / min(costs)


def with_ratios(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each of KEYS, with ratios where both sides were measured, then all other figures.

    A ratio is the middle one of those of the rounds: in a round both sides were measured within minutes of each other, while the
    best of either may come from an hour in which the machine was twice as fast.

    >>> rounds = [{"pipeline_events_s": 6, "react_events_s": 8}, {"pipeline_events_s": 6, "react_events_s": 12}]
    >>> with_ratios({"rounds": [*rounds, {"pipeline_events_s": 8, "react_events_s": 10}]})["pipeline_to_react"]
    0.75
    """
    result = dict(figures)
    for name, (dividend, divisor) in RATIOS.items():
        ratios = [row[dividend] / row[divisor] for row in result.get("rounds", ()) if row.get(dividend) and row.get(divisor)]
        if not ratios and result.get(dividend) and result.get(divisor):
            ratios = [result[dividend] / result[divisor]]  # measured once, or of processor time, which rounds do not tell
        if ratios:
            result[name] = round(median(ratios), 3)
    costs = costs_of(result)
    if costs is not None:
        result["cpu_us_per_event"] = costs._asdict()
        result["fleet"] = [fleet(costs, cores) for cores in (2, 4, 8, 16, 32)]
    return {name: result.pop(name, None) for name in KEYS} | result


def better_round(part: str, best: dict[str, Any] | None, latest: dict[str, Any]) -> dict[str, Any]:
    """All figures of the round with the higher rate, never mixed, so that they belong together.

    >>> better_round("react", {"react_events_s": 9, "react_us": 111.1}, {"react_events_s": 8, "react_us": 125.0})
    {'react_events_s': 9, 'react_us': 111.1}
    """
    rate = RATES.get(part)
    return best if best is not None and rate is not None and best[rate] > latest[rate] else latest


def note_round(
    rounds: dict[int, dict[str, Any]], number: int, part: str, figures: Mapping[str, Any], yardstick_us: float
) -> None:
    """Add a part's rate to the row of its round, and, once both are known, the pipeline's to that of ``react``.

    ``yardstick_us`` in the row: of the machine before the first part and before the last one so far.

    >>> rounds = {}
    >>> note_round(rounds, 2, "ceiling", {"ceiling_events_s": 9}, 1.2)  # in the first one it failed
    >>> rounds
    {2: {'round': 2, 'yardstick_us': 1.2, 'yardstick_last_us': 1.2, 'ceiling_events_s': 9}}
    """
    row = rounds.setdefault(number, {"round": number, "yardstick_us": yardstick_us})
    row["yardstick_last_us"] = yardstick_us
    row[RATES[part]] = figures[RATES[part]]
    if part == "pipeline" and "react_events_s" in row:
        row["pipeline_to_react"] = round(row["pipeline_events_s"] / row["react_events_s"], 3)


def shares(samples: Mapping[str, int]) -> dict[str, float]:
    """Each sample's share of the total in per cent, the largest first.

    >>> shares({"decode": 1, "fold": 3})
    {'fold': 75.0, 'decode': 25.0}
    """
    total = sum(samples.values()) or 1
    return {name: round(100 * count / total, 1) for name, count in sorted(samples.items(), key=lambda item: -item[1])}


class Costs(NamedTuple):
    """Processor time in microseconds per event, by process; the learner has a worker of its own."""

    worker: float
    broker: float
    sink: float
    learner: float


ROOM = 0.85
"""The share of each core that is planned with; the rest is kept free for peaks."""


def fleet(costs: Costs, cores: int) -> dict[str, Any]:
    """Events per second that so many cores carry between workers, broker and sink, and what gives out first.

    A worker uses one core at most, so there are as many as their work needs. All training examples go through one learner, and
    all rows through one sink: either carries a core's worth, however many cores there are.

    >>> fleet(Costs(worker=100, broker=50, sink=50, learner=2), 8)["events_s"], fleet(Costs(100, 50, 50, 2), 32)["limit"]
    (17000, 'the one sink')
    """
    room = 1e6 * ROOM
    limits = {"cores": cores * room / sum(costs)}
    limits |= {name: room / cost for name, cost in (("the one sink", costs.sink), ("the one learner", costs.learner)) if cost}
    limit = min(limits, key=lambda name: limits[name])
    rate = min(limits[limit], limits["cores"])
    cores_used = {name: round(rate * getattr(costs, name) / 1e6, 1) for name in costs._fields}
    return {
        "cores": cores,
        "events_s": int(round(rate, -2)),
        "limit": limit,
        "workers": math.ceil(rate * costs.worker / room),
        **{f"{name}_cores": value for name, value in cores_used.items()},
    }


def costs_of(figures: Mapping[str, Any]) -> Costs | None:
    """The costs per event; None when a part that measures one of them is missing."""
    try:
        rows = figures["sink_rows"] / figures["events"]
        return Costs(
            worker=figures["worker_cpu_us"],
            broker=figures["broker_cpu_us"],
            sink=round(figures["sink_cpu_us_per_row"] * rows, 1),
            learner=round(figures["learner_cpu_us_per_example"] * figures["examples_per_event"], 1),
        )
    except (KeyError, TypeError):
        return None
