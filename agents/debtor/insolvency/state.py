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
    register: str = ""
    """Empty: written before proceedings were told apart."""
    proceeding: str = ""
    """The id of the proceeding; where it is not known, its court. Empty: the notice names neither, or retracts another."""


class Insolvency(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gravest stage by certain matches, whether a possible match waits for a person, and the notices that it follows from."""

    stage: Stage = "none"
    possible: Stage = "none"
    notices: tuple[Notice, ...] = ()
