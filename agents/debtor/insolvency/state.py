"""Frozen values of a debtor's proceeding."""

from __future__ import annotations

import msgspec

from schemas.events.insolvency import Stage


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a notice: enough to judge the stage again when another corrects it."""

    notice_id: str
    stage: Stage
    certain: bool
    published_on: int


class Insolvency(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stage by certain matches, whether a possible match waits for a person, and the notices that it follows from."""

    stage: Stage = "none"
    possible: Stage = "none"
    notices: tuple[Notice, ...] = ()
