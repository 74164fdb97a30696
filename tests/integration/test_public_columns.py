"""No table, view or column that analysts rely on is gone or of another type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streams.clickhouse.migrate import migrate
from tests.contract.support.public_names import COMMITTED, missing, names_in_clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.embedded


def test_every_table_view_and_column_is_as_committed(clickhouse: Client) -> None:
    clickhouse.command("DROP DATABASE IF EXISTS public_columns")
    migrate(clickhouse, "public_columns")
    present = names_in_clickhouse(clickhouse, "public_columns")
    committed = {"columns": json.loads(COMMITTED.read_text(encoding="utf-8"))["columns"]}
    assert missing(committed, present) == [], "bring it back, or add a view of another name"
    assert missing(present, committed) == [], "list it: python -m tests.contract.support.public_names"
