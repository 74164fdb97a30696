"""What model-quality says, as rows of its two tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.clickhouse.rows import Rows, SinkRecord, rows_of
from schemas.clickhouse.tables import TABLES
from schemas.generate import EXAMPLES


def rows(name: str) -> tuple[Rows, dict[str, Any]]:
    [path] = EXAMPLES.glob(f"duewatch.model.{name}.json")
    content_type = ("content-type", b"application/cloudevents+json")
    record = SinkRecord("model-quality", 0, 7, None, path.read_bytes(), [content_type])
    return rows_of(record), json.loads(path.read_text())["data"]


@pytest.mark.parametrize(
    ("example", "table"),
    [
        ("measured.v1/2-full", "model_quality_raw"),
        ("measured.v1/1-minimal", "model_quality_raw"),
        ("alerted.v1/2-full", "model_alerts_raw"),
        ("alerted.v1/1-minimal", "model_alerts_raw"),
    ],
)
def test_each_message_is_a_row_of_its_table_with_every_field(example: str, table: str) -> None:
    [(found, row)], data = rows(example)
    told = dict(zip(TABLES[table], row, strict=True))

    assert found == table
    assert told["offset"] == 7
    assert {name: told[name] for name in data} == data
