"""What an insolvency notice changes at once: the stage, and what defaults by it. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from agents.debtor.insolvency import decide as insolvency
from agents.debtor.insolvency.state import Insolvency, Notice
from agents.debtor.keys import ITEM_PREFIX
from agents.debtor.payments.state import Item
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.envelope import Rejection
from schemas.events.insolvency import InsolvencyMatched


def take_notice(uow: UnitOfWork, fact: InsolvencyMatched, _content: str) -> Rejection | None:
    published_on, proceeding = fact.published_on.toordinal(), fact.proceeding_id or fact.court or ""
    notice = Notice(fact.notice_id, fact.stage, fact.match == "certain", published_on, fact.register, proceeding)
    set_insolvency(uow, insolvency.add_notice(uow.header.insolvency, notice, fact.corrects))
    return None


def set_insolvency(uow: UnitOfWork, after: Insolvency) -> None:
    """Replace the debtor's insolvency; when it becomes insolvent, all that is open defaults."""
    if after is uow.header.insolvency:
        return
    was_default = insolvency.is_default(uow.header.insolvency.stage)
    uow.set(insolvency=after)
    uow.needs_score = True
    if insolvency.is_default(after.stage) and not was_default:
        for row_key, row in uow.rows(ITEM_PREFIX):
            if isinstance(row, Item) and row.open and row.default < 0:
                uow.put(row_key, replace(row, defaulted_early=True))
