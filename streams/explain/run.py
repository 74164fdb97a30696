"""The command ``explain``: recompute one past decision, show why it came out so, and compare it with what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse, clickhouse_or_leftover
from streams.errors import UserError
from streams.explain.describe import as_dict
from streams.explain.find import find
from streams.explain.from_clickhouse import reproduce_from_clickhouse
from streams.explain.render import render
from streams.explain.reproduce import Reproduction, reproduce
from streams.kafka.admin import KafkaAwayError, require_kafka
from streams.kafka.codec import partition_of
from streams.kafka.read import offsets
from streams.kafka.topics import deployed, full_name
from streams.terminal.progress import progress_bar

if TYPE_CHECKING:
    from streams.settings import Settings


def run_explain(
    settings: Settings, decision_id: str, data: Path | None, clickhouse: str | None, *, as_json: bool = False
) -> tuple[str, bool]:
    """The explanation as text, and whether the decision is as it should be, as far as can be said. Raises UserError.

    From the log; where Kafka does not answer, from what a replay has left in ClickHouse.
    """
    try:
        require_kafka(settings)
    except KafkaAwayError as error:
        reproduction = _from_clickhouse(clickhouse_or_leftover(settings, data, clickhouse), decision_id, error)
    else:
        client = ClickHouse(data, clickhouse) if data is not None or clickhouse is not None else None
        reproduction = _from_the_log(deployed(settings), decision_id, client)
    is_good = reproduction.is_equal is not False
    if as_json:
        explanation = as_dict(reproduction)
        return orjson.dumps(explanation, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode(), is_good
    return render(reproduction), is_good


def _from_clickhouse(clickhouse: ClickHouse, decision_id: str, why_not_kafka: KafkaAwayError) -> Reproduction:
    try:
        return reproduce_from_clickhouse(clickhouse, decision_id, str(why_not_kafka))
    except ClickHouseError as error:
        raise UserError(f"{why_not_kafka}. And {error}") from None


def _from_the_log(settings: Settings, decision_id: str, clickhouse: ClickHouse | None) -> Reproduction:
    publication = find(settings, decision_id, clickhouse)
    partition = partition_of(publication.data.customer_id.encode(), settings.partitions)
    journal = (full_name(settings.prefix, "journal"), partition)
    with progress_bar("explain", offsets(settings.for_librdkafka(), [journal])[journal], "slices") as bar:
        return reproduce(settings, publication, bar.advance)
