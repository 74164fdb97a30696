"""Recompute a decision without Kafka: from the events that a replay has left in ClickHouse, in the way the backtest decides."""

from __future__ import annotations

from typing import Any

from schemas.registry import TOPICS
from streams.clickhouse.query import ClickHouse
from streams.errors import UserError
from streams.explain.find import PublishedDecision, id_condition, parse_decision
from streams.explain.reproduce import Reproduction
from streams.kafka.codec import json_of
from streams.recompute.clickhouse import ends_of_the_replay, read_events
from streams.recompute.decisions import DECISION_TOPICS, RecordedDecision, RecordingBrain, view_of
from streams.recompute.difference import columns_of, is_alike
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context
from streams.replay.steps import cut_at
from streams.terminal.progress import progress_bar

Row = dict[str, Any]


def reproduce_from_clickhouse(clickhouse: ClickHouse, decision_id: str, why_not_kafka: str) -> Reproduction:
    """Fold all events up to the decision; ``why_not_kafka`` begins the message where that cannot be done.

    Raises UserError where ClickHouse does not hold just one replay.
    """
    row, topic = _find(clickhouse, decision_id)
    ends = ends_of_the_replay(clickhouse, why_not_kafka)
    records = read_events(clickhouse)
    brain = RecordingBrain(row["id"])
    fold = Fold(replay_context(records), debtors=brain)
    with progress_bar("explain", len(records)) as bar:
        for step in cut_at(records, ends):
            fold.step(step)
            bar.advance(len(step.records))
            if brain.decision is not None:
                return _compare(brain.decision, row, topic)
    raise UserError(
        f"the decision {decision_id} cannot be recomputed from the events in ClickHouse: it was made under a policy from a file"
        f" (--policy), or by another version of the code ({row['code_version']}). Replay with --kafka and explain it from its log"
    )


def _find(clickhouse: ClickHouse, decision_id: str) -> tuple[Row, str]:
    """The decision's row and topic."""
    for topic in DECISION_TOPICS:
        sql = f"SELECT * FROM {view_of(topic)} WHERE {id_condition(topic, decision_id)} ORDER BY time LIMIT 1"  # noqa: S608 - names of ours
        if rows := clickhouse.rows(sql):
            return rows[0], topic
    views = ", ".join(map(view_of, DECISION_TOPICS))
    raise UserError(f"no decision has the id {decision_id!r}: the views {views} in ClickHouse do not hold it")


def _compare(recorded: RecordedDecision, row: Row, topic: str) -> Reproduction:
    output = recorded.output
    columns = columns_of(output)
    differences = [(name, row[name], value) for name, value in columns.items() if name in row and not is_alike(row[name], value)]
    data = parse_decision(TOPICS[topic].contracts[output.type], json_of(output.data))
    publication = PublishedDecision(topic, f"{topic}/{row['partition']}/{row['offset']}", output.id, output.type, data)
    return Reproduction(publication, recorded, None, frozenset({row["code_version"]}), differences)
