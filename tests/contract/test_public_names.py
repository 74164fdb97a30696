"""No name that outsiders rely on is gone or means something else; what is new is in the committed list as well."""

from __future__ import annotations

import json

from tests.contract.support.public_names import COMMITTED, missing, names_in_code

FIX = "Bring it back, or publish a new version beside it; new names: python -m tests.contract.support.public_names"


def test_no_topic_type_field_command_option_setting_or_metric_is_gone() -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    del committed["columns"]
    assert missing(committed, names_in_code()) == [], FIX


def test_every_topic_type_field_command_option_setting_and_metric_is_in_the_committed_list() -> None:
    assert missing(names_in_code(), json.loads(COMMITTED.read_text(encoding="utf-8"))) == [], FIX
