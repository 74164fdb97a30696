"""Make one past decision again from its debtor's events, show why it came out so, and hold it against what went out (D5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from streams.audit.sink_wait import deployed
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse, clickhouse_or_leftover
from streams.engine.restore import offsets
from streams.errors import UserError
from streams.explain.describe import as_dict
from streams.explain.from_clickhouse import explain_replayed
from streams.explain.render import rendered
from streams.explain.reproduce import Explained, explain, find
from streams.kafka.admin import KafkaAwayError, require_kafka
from streams.kafka.codec import partition_of
from streams.kafka.topics import full_name
from streams.terminal.progress import progress_bar

if TYPE_CHECKING:
    from streams.settings import Settings


def run_explain(
    settings: Settings, wanted: str, data: Path | None, clickhouse: str | None, *, as_json: bool = False
) -> tuple[str, bool]:
    """The explanation as text, and whether nothing speaks against the decision. Raises UserError.

    From the log; where no Kafka answers, from what a replay has left in ClickHouse.
    """
    try:
        require_kafka(settings)
    except KafkaAwayError as away:
        made = _from_clickhouse(clickhouse_or_leftover(settings, data, clickhouse), wanted, away)
    else:
        asked = ClickHouse(data, clickhouse) if data is not None or clickhouse is not None else None
        made = _from_the_log(deployed(settings), wanted, asked)
    good = made.is_equal is not False
    if as_json:
        return orjson.dumps(as_dict(made), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode(), good
    return rendered(made), good


def _from_clickhouse(asked: ClickHouse, wanted: str, away: KafkaAwayError) -> Explained:
    try:
        return explain_replayed(asked, wanted, str(away))
    except ClickHouseError as error:
        raise UserError(f"{away}. And {error}") from None


def _from_the_log(settings: Settings, wanted: str, clickhouse: ClickHouse | None) -> Explained:
    emitted = find(settings, wanted, clickhouse)
    place = (full_name(settings.prefix, "journal"), partition_of(emitted.data.customer_id.encode(), settings.partitions))
    with progress_bar("explain", offsets(settings.for_librdkafka(), [place])[place], "slices") as bar:
        return explain(settings, emitted, bar.advance)
