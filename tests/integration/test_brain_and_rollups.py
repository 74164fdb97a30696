"""The balances that the brain keeps equal those that the roll-ups' rules give, whatever happens to a debtor's invoices."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from agents.debtor.payments.decide import dso
from agents.debtor.payments.state import SalesDay
from schemas.base import Contract
from schemas.events import payments as p
from tests.integration.support.ledgers import recompute, tangled
from tests.support.builders import START, Life, event

_DATES = ("issued_on", "paid_on", "cancelled_on", "written_off_on", "returned_on")


def _is_alike(fact: object) -> bool:
    """Left out, as is a cancelled invoice that was credited too: returns. The roll-ups know no order within an invoice and
    let another payment's excess step in; the brain settles in the order in which money came."""
    return not isinstance(fact, p.PaymentReturned)


def _dated(fact: object) -> date:
    day: date = next(getattr(fact, name) for name in _DATES if hasattr(fact, name))
    return day


@pytest.mark.parametrize("seed", range(60))
def test_the_brain_and_the_rollups_agree_on_every_day(seed: int) -> None:
    facts = sorted((f for f in tangled(seed, "c-1") if _is_alike(f)), key=_dated)
    credited = {a.invoice_id for f in facts if isinstance(f, p.CreditNoteIssued) for a in f.allocations}
    facts = [f for f in facts if not (isinstance(f, p.InvoiceCancelled) and f.invoice_id in credited)]
    life, applied = Life(), []
    last = max(_dated(f) for f in facts) if facts else START
    for fact in facts:
        n = (_dated(fact) - START).days
        refused = len(life.rejections)
        life.until(n)
        life.tell(event(fact, n))
        if len(life.rejections) == refused:
            applied.append(fact)
    for ahead in (0, 20, 75):
        day = last + timedelta(days=ahead)
        life.until((day - START).days)
        _compare(life, applied, day)


def _compare(life: Life, applied: list[Contract], day: date) -> None:
    header = life.row("")
    for (_, currency), oracle in recompute(applied).items():
        told, kept = oracle.on(day), header.balances[currency]
        assert kept.open_amount == told["open_amount"]
        assert kept.unapplied == told["unapplied"]
        assert kept.overdue == told["overdue_amount"]
        assert kept.buckets[1:] == tuple(told[name] for name in ("due_1_30", "due_31_60", "due_61_90", "due_over_90"))
        assert kept.sales_90d == told["sales_90d"]
        prefix = f"c-1\x1fs/{currency}/"
        sold = [(key, row) for key, row in life.book.rows() if key.startswith(prefix)]
        sales = {int(key.removeprefix(prefix)): row.amount for key, row in sold if isinstance(row, SalesDay)}
        if sales:
            forms = dso(kept.open_amount, kept.open_amount - kept.overdue, sales.get, day.toordinal(), min(sales))  # type: ignore[arg-type]
            assert (forms.standard, forms.best_possible) == (told["dso_standard"], told["dso_best_possible"])
            assert forms.countback == told["dso_countback"] or forms.countback is None
