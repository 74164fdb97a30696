"""What each fact about invoices, payments and credit notes changes. Pure: what it cannot apply is a ``Rejection``.

``recorded`` is the time at which a fact was recorded, as RFC 3339 text: of two words about the same thing with the same value
date the later one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from agents.debtor.keys import credit_note_key, item_key, payment_key, pending_key
from agents.debtor.payments.posting import (
    Get,
    LedgerView,
    Parts,
    Posting,
    merge_parts,
    move_item,
    parts_of,
    post_part,
    post_payment,
    posting_in,
    size_in,
    split,
    split_anew,
    splits_of,
)
from agents.debtor.payments.state import ZERO, Balance, CreditNote, Item, Payment, PendingAllocations, Word
from schemas.events.envelope import Rejection
from schemas.events.payments import (
    Allocation,
    CreditNoteAllocated,
    CreditNoteCancelled,
    CreditNoteIssued,
    DisputeClosed,
    DisputeOpened,
    InvoiceAmended,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceReinstated,
    InvoiceWrittenOff,
    PaymentAllocated,
    PaymentReceived,
    PaymentReturned,
    RecoveryReceived,
    WriteOffReversed,
)

VOID = 2
"""The label of an invoice that was cancelled or is in dispute: neither late nor in time, neither a default nor none."""


# -- invoices
def issue_invoice(fact: InvoiceIssued, content: str, ledger: LedgerView) -> Posting:
    """A new item, its sale, and what had been stated for it before it was known.

    >>> from datetime import date
    >>> days = {"issued_on": date(2026, 3, 2), "due_on": date(2026, 4, 1)}
    >>> fact = InvoiceIssued(customer_id="C-1", invoice_id="I-7", amount=Decimal(100), currency="EUR", **days)
    >>> ledger = LedgerView({}, {}.get, date(2026, 3, 2).toordinal(), overdue_days=15, horizon_days=400)
    >>> posting = issue_invoice(fact, "hash of the content", ledger)
    >>> posting.rows["i/I-7"].open, posting.balances["EUR"].open_amount, posting.balances["EUR"].sales_90d
    (Decimal('100.00'), Decimal('100.00'), Decimal('100.00'))
    """
    invoice_id, currency, issue_day = fact.invoice_id, fact.currency, fact.issued_on.toordinal()
    posting = posting_in(ledger, currency)
    pending: PendingAllocations | None = ledger.get(pending_key(invoice_id))
    item = Item(
        content=content, amount=fact.amount, currency=currency, issued=issue_day, due=max(fact.due_on.toordinal(), issue_day),
        open=fact.amount, expires=ledger.day + ledger.horizon_days,
    )  # fmt: skip
    if pending is None:
        posting.put_item(invoice_id, None, item)
        return posting
    splits = splits_of(posting, pending.shared)
    paid, credited = _take_pending(posting, invoice_id, pending, currency)
    posting.add_unapplied(currency, -paid - credited)
    posting.put_item(invoice_id, None, replace(item, paid=paid, credited=credited, shared=pending.shared))
    split_anew(posting, splits)
    return posting


def _take_pending(posting: Posting, invoice_id: str, pending: PendingAllocations, currency: str) -> tuple[Decimal, Decimal]:
    """What was stated for an invoice in its currency, by payments and by credit notes; what is in another one stays."""
    paid, credited = pending.paid.get(currency, ZERO), pending.credited.get(currency, ZERO)
    for payment_id, amount, part_currency in pending.parts:  # as version 2 kept them
        if part_currency != currency:
            continue
        if not payment_id:
            credited += amount
            continue
        payment: Payment | None = posting.get(payment_key(payment_id))
        if payment is not None:
            stated = min(amount, payment.unapplied)  # it may have come back while it waited
            posting.rows[payment_key(payment_id)] = replace(
                payment,
                unapplied=payment.unapplied - stated,
                allocations=merge_parts((*payment.allocations, (invoice_id, stated))),
            )
            paid += stated
    rest = replace(
        pending,
        parts=tuple(part for part in pending.parts if part[2] != currency),
        paid={c: amount for c, amount in pending.paid.items() if c != currency},
        credited={c: amount for c, amount in pending.credited.items() if c != currency},
        shared=(),
    )
    posting.rows[pending_key(invoice_id)] = rest if rest.parts or rest.paid or rest.credited else None
    return paid, credited


def amend_invoice(fact: InvoiceAmended, recorded: str, ledger: LedgerView) -> Posting | Rejection:
    """Another due day by agreement; a due day before the issue day is the issue day.

    >>> from datetime import date
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> sent = {"customer_id": "C-1", "amendment_id": "A-1", "invoice_id": "I-7", "amended_on": date(1, 4, 20)}
    >>> ledger = LedgerView({"EUR": Balance()}, {"i/I-7": item}.get, 120, overdue_days=15, horizon_days=400)
    >>> amend_invoice(InvoiceAmended.model_construct(due_on=date(1, 6, 1), **sent), "", ledger).rows["i/I-7"].due
    152
    """
    item = find_invoice(fact.invoice_id, ledger.get)
    if isinstance(item, Rejection):
        return item
    posting = posting_in(ledger, item.currency)
    word = (fact.amended_on.toordinal(), recorded)
    if fact.due_on is not None and (item.due_word is None or word > item.due_word):
        due = max(fact.due_on.toordinal(), item.issued)
        posting.put_item(fact.invoice_id, item, replace(item, due=due, due_word=word))
    return posting


def void_invoice(fact: InvoiceCancelled | InvoiceReinstated, recorded: str, ledger: LedgerView) -> Posting | Rejection:
    """Cancel an invoice, or take that back: the last word counts. While it is cancelled, what was stated for it is unapplied.

    >>> from datetime import date
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(3), expires=500, paid=Decimal(2))
    >>> balances = {"EUR": Balance(buckets=(Decimal(3), ZERO, ZERO, ZERO, ZERO), sales_90d=Decimal(5))}
    >>> ledger = LedgerView(balances, {"i/I-7": item}.get, day=120, overdue_days=15, horizon_days=400)
    >>> fact = InvoiceCancelled.model_construct(customer_id="C-1", invoice_id="I-7", cancelled_on=date(1, 4, 30))
    >>> posting = void_invoice(fact, "", ledger)
    >>> posting.rows["i/I-7"].closed, posting.balances["EUR"].open_amount, posting.balances["EUR"].unapplied
    ('cancelled', Decimal('0.00'), Decimal('2.00'))
    """
    item = find_invoice(fact.invoice_id, ledger.get)
    if isinstance(item, Rejection):
        return item
    if isinstance(fact, InvoiceReinstated):
        if item.closed != "cancelled":
            return Rejection(f"invoice {fact.invoice_id} is not cancelled: send its cancellation first", "invoice_id")
        word = (fact.reinstated_on.toordinal(), recorded, 1)
    else:
        word = (fact.cancelled_on.toordinal(), recorded, 0)
    posting = posting_in(ledger, item.currency)
    if item.void_word is not None and word <= item.void_word:
        return posting
    splits = splits_of(posting, item.shared)
    after = replace(item, void_word=word)
    if not word[2]:  # a void invoice teaches nothing
        after = replace(after, late=VOID if item.late < 0 else item.late, default=VOID if item.default < 0 else item.default)
    elif item.late == VOID and item.due >= ledger.day:
        after = replace(after, late=-1, default=-1)
    posting.put_item(fact.invoice_id, item, after)
    split_anew(posting, splits)
    return posting


def write_off_invoice(fact: InvoiceWrittenOff | WriteOffReversed, recorded: str, ledger: LedgerView) -> Posting | Rejection:
    """Give up the open rest of an invoice, or take that back: the last word counts.

    >>> from datetime import date
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, paid=Decimal(5), closed="settled")
    >>> ledger = LedgerView({"EUR": Balance()}, {"i/I-7": item}.get, day=120, overdue_days=15, horizon_days=400)
    >>> fact = InvoiceWrittenOff.model_construct(customer_id="C-1", invoice_id="I-7", written_off_on=date(1, 4, 30))
    >>> write_off_invoice(fact, "", ledger).reason
    'invoice I-7 is settled: nothing of it is left to write off'
    """
    item = find_invoice(fact.invoice_id, ledger.get)
    if isinstance(item, Rejection):
        return item
    word: Word
    if isinstance(fact, WriteOffReversed):
        if item.closed != "written_off":
            return Rejection(f"invoice {fact.invoice_id} is not written off: send its write-off first", "invoice_id")
        word = (fact.reversed_on.toordinal(), recorded, 1)
    else:
        if not item.open and item.closed != "written_off":
            return Rejection(f"invoice {fact.invoice_id} is {item.closed}: nothing of it is left to write off", "invoice_id")
        word = (fact.written_off_on.toordinal(), recorded, 0)
    posting = posting_in(ledger, item.currency)
    if item.loss_word is None or word > item.loss_word:
        posting.put_item(fact.invoice_id, item, replace(item, loss_word=word))
    return posting


def recover(fact: RecoveryReceived, ledger: LedgerView) -> Posting | Rejection:
    """Money on a claim that was given up: it settles nothing that is open, and lowers the loss.

    What concerns an invoice that nobody remembers any more is the debtor's alone: it is applied, and changes no invoice.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, loss_word=(110, "", 0))
    >>> ledger = LedgerView({"EUR": Balance()}, {"i/I-7": item}.get, day=120, overdue_days=15, horizon_days=400)
    >>> sent = {"customer_id": "C-1", "recovery_id": "V-1", "invoice_id": "I-7", "amount": Decimal(2), "currency": "EUR"}
    >>> recover(RecoveryReceived.model_construct(**sent), ledger).rows["i/I-7"].recovered
    Decimal('2.00')
    """
    item: Item | None = ledger.get(item_key(fact.invoice_id))
    posting = posting_in(ledger, fact.currency)
    if item is None:
        return posting
    if item.loss_word is None:
        return Rejection(f"invoice {fact.invoice_id} is not written off: send the money as a payment", "invoice_id")
    if item.currency == fact.currency:
        posting.put_item(fact.invoice_id, item, replace(item, recovered=item.recovered + fact.amount))
    return posting


def contest(fact: DisputeOpened | DisputeClosed, ledger: LedgerView) -> Posting | Rejection:
    """Open or close a dispute: while one is open, the invoice is not overdue for alerts, cuts and labels.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> ledger = LedgerView({"EUR": Balance()}, {"i/I-7": item}.get, day=120, overdue_days=15, horizon_days=400)
    >>> posting = contest(DisputeOpened.model_construct(customer_id="C-1", invoice_id="I-7", dispute_id="D-1"), ledger)
    >>> posting.rows["i/I-7"].disputes, posting.balances["EUR"].disputed_amount
    (('D-1',), Decimal('5.00'))
    """
    item = find_invoice(fact.invoice_id, ledger.get)
    if isinstance(item, Rejection):
        return item
    if isinstance(fact, DisputeOpened):
        after = replace(item, disputes=(*item.disputes, fact.dispute_id))
    elif fact.dispute_id not in item.disputes:
        return Rejection(
            f"dispute {fact.dispute_id} of invoice {fact.invoice_id} is not open: send its opening first", "dispute_id"
        )
    else:
        after = replace(item, disputes=tuple(d for d in item.disputes if d != fact.dispute_id))
        if fact.outcome == "upheld":  # the debtor was right not to pay: that teaches nothing about its paying
            after = replace(after, late=VOID if item.late < 0 else item.late, default=VOID if item.default < 0 else item.default)
    posting = posting_in(ledger, item.currency)
    posting.put_item(fact.invoice_id, item, after)
    return posting


def find_invoice(invoice_id: str, get: Get) -> Item | Rejection:
    """An invoice that must be known.

    >>> find_invoice("RE/2026/001", {}.get).reason
    'invoice RE/2026/001 is not known: send it first'
    """
    item: Item | None = get(item_key(invoice_id))
    return item if item is not None else Rejection(f"invoice {invoice_id} is not known: send it first", "invoice_id")


# -- payments
def check_allocations(allocations: Sequence[Allocation], currency: str, get: Get) -> Rejection | None:
    """Why money cannot be allocated: an invoice is in another currency.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> allocation = Allocation(invoice_id="I-7", amount=Decimal(5))
    >>> check_allocations([allocation], "EUR", {"i/I-7": item}.get), check_allocations([allocation], "EUR", {}.get)
    (None, None)
    >>> check_allocations([allocation], "USD", {"i/I-7": item}.get).field
    'allocations'
    """
    for allocation in allocations:
        item: Item | None = get(item_key(allocation.invoice_id))
        if item is not None and item.currency != currency:
            return Rejection(
                f"invoice {allocation.invoice_id} is in {item.currency}, the money in {currency}: "
                "send the payment in the invoice's currency, or without the allocation",
                "allocations",
            )
    return None


def _stated(allocations: Sequence[Allocation]) -> Parts:
    return merge_parts((allocation.invoice_id, allocation.amount) for allocation in allocations)


def receive_payment(fact: PaymentReceived, content: str, ledger: LedgerView) -> Posting:
    """A payment: what it states settles invoices, what it leaves over is unapplied cash.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "payment_id": "P-1", "currency": "EUR", "paid_on": date(2026, 3, 2)}
    >>> fact = PaymentReceived(amount=Decimal(7), allocations=(Allocation(invoice_id="I-7", amount=Decimal(5)),), **sent)
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> balances = {"EUR": Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO))}
    >>> posting = receive_payment(fact, "", LedgerView(balances, {"i/I-7": item}.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.rows["i/I-7"].closed, posting.rows["p/P-1"].unapplied, posting.balances["EUR"].unapplied
    ('settled', Decimal('2.00'), Decimal('2.00'))
    """
    posting = posting_in(ledger, fact.currency)
    payment = Payment(
        content=content,
        amount=fact.amount,
        currency=fact.currency,
        unapplied=ZERO,
        allocations=_stated(fact.allocations),
        next_deadline=ledger.day + ledger.horizon_days,
    )
    post_payment(posting, fact.payment_id, payment, None)
    return posting


def allocate_payment(fact: PaymentAllocated, recorded: str, ledger: LedgerView) -> Posting | Rejection:
    """Another list of what a payment settles; it replaces the one in force unless that was said later.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "payment_id": "P-1", "currency": "EUR", "allocation_id": "L-1"}
    >>> stated = (Allocation(invoice_id="I-7", amount=Decimal(5)),)
    >>> fact = PaymentAllocated(allocations=stated, allocated_on=date(2026, 3, 9), **sent)
    >>> rows = {
    ...     "i/I-7": Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500),
    ...     "p/P-1": Payment("", Decimal(5), "EUR", Decimal(5), (), next_deadline=500),
    ... }
    >>> balances = {"EUR": Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO), unapplied=Decimal(5))}
    >>> posting = allocate_payment(fact, "", LedgerView(balances, rows.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.balances["EUR"].open_amount, posting.balances["EUR"].unapplied
    (Decimal('0.00'), Decimal('0.00'))
    """
    payment: Payment | None = ledger.get(payment_key(fact.payment_id))
    if payment is None:
        return Rejection(f"payment {fact.payment_id} is not known: send the payment first", "payment_id")
    stated = _stated(fact.allocations)
    rejection = _check_list(f"payment {fact.payment_id}", payment, fact, stated) or check_allocations(
        fact.allocations, fact.currency, ledger.get
    )
    if rejection is not None:
        return rejection
    posting = posting_in(ledger, payment.currency)
    word = (fact.allocated_on.toordinal(), recorded)
    if payment.list_word is None or word > payment.list_word:
        before = split(payment, size_in(posting, payment.currency))
        deadline = max(payment.next_deadline, ledger.day + ledger.horizon_days)
        after = replace(payment, allocations=stated, list_word=word, next_deadline=deadline)
        post_payment(posting, fact.payment_id, after, before)
    return posting


def _check_list(
    name: str, whole: Payment | CreditNote, fact: PaymentAllocated | CreditNoteAllocated, stated: Parts
) -> Rejection | None:
    if fact.currency != whole.currency:
        return Rejection(f"{name} is in {whole.currency}, not {fact.currency}: correct the currency", "currency")
    total = sum((part for _, part in stated), ZERO)
    if total > whole.amount:
        return Rejection(f"the allocations add up to {total}, more than the {whole.amount} of {name}", "allocations")
    return None


def return_payment(fact: PaymentReturned, ledger: LedgerView) -> Posting | Rejection:
    """Undo a payment: its rest first, then what the return names, then its allocations, the last first; invoices open again.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "return_id": "R-1", "currency": "EUR", "returned_on": date(2026, 3, 9)}
    >>> fact = PaymentReturned(payment_id="P-1", amount=Decimal(4), **sent)
    >>> rows = {
    ...     "i/I-7": Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, paid=Decimal(5), closed="settled"),
    ...     "p/P-1": Payment("", Decimal(6), "EUR", Decimal(1), (("I-7", Decimal(5)),), next_deadline=500),
    ... }
    >>> balances = {"EUR": Balance(unapplied=Decimal(1))}
    >>> posting = return_payment(fact, LedgerView(balances, rows.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.rows["i/I-7"].open, posting.rows["p/P-1"].returned, posting.balances["EUR"].unapplied
    (Decimal('3.00'), Decimal('4.00'), Decimal('0.00'))
    """
    payment: Payment | None = ledger.get(payment_key(fact.payment_id))
    if payment is None:
        return Rejection(f"payment {fact.payment_id}, which came back, is not known: send the payment first", "payment_id")
    if fact.currency != payment.currency:
        return Rejection(f"payment {fact.payment_id} was in {payment.currency}, not {fact.currency}", "currency")
    rest = payment.amount - payment.returned
    if fact.amount > rest:
        return Rejection(f"{fact.amount} came back of payment {fact.payment_id}, of which only {rest} is left", "amount")
    posting = posting_in(ledger, payment.currency)
    before = split(payment, size_in(posting, payment.currency))
    after = replace(
        payment,
        returned=payment.returned + fact.amount,
        named=merge_parts((*payment.named, *_stated(fact.allocations))),
        next_deadline=max(payment.next_deadline, ledger.day + ledger.horizon_days),
    )
    post_payment(posting, fact.payment_id, after, before)
    return posting


# -- credit notes
def issue_credit_note(fact: CreditNoteIssued, content: str, ledger: LedgerView) -> Posting:
    """A credit note: what it states settles invoices and leaves their turnover; what it leaves over is unapplied.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "credit_note_id": "K-1", "currency": "EUR", "issued_on": date(2026, 3, 2)}
    >>> fact = CreditNoteIssued(amount=Decimal(7), allocations=(Allocation(invoice_id="I-7", amount=Decimal(4)),), **sent)
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> balances = {"EUR": Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO))}
    >>> posting = issue_credit_note(fact, "", LedgerView(balances, {"i/I-7": item}.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.rows["i/I-7"].open, posting.balances["EUR"].unapplied
    (Decimal('1.00'), Decimal('3.00'))
    """
    posting = posting_in(ledger, fact.currency)
    deadline = ledger.day + ledger.horizon_days
    note = CreditNote(content, fact.amount, fact.currency, _stated(fact.allocations), next_deadline=deadline)
    _post_note(posting, fact.credit_note_id, None, note)
    return posting


def allocate_credit_note(fact: CreditNoteAllocated, recorded: str, ledger: LedgerView) -> Posting | Rejection:
    """Another list of what a credit note settles; it replaces the one in force unless that was said later.

    >>> fact = CreditNoteAllocated.model_construct(credit_note_id="K-1", currency="EUR", allocations=())
    >>> allocate_credit_note(fact, "", LedgerView({}, {}.get, 120, overdue_days=15, horizon_days=400)).reason
    'credit note K-1 is not known: send the credit note first'
    """
    note = _find_note(fact.credit_note_id, ledger.get)
    if isinstance(note, Rejection):
        return note
    stated = _stated(fact.allocations)
    rejection = _check_list(f"credit note {fact.credit_note_id}", note, fact, stated) or check_allocations(
        fact.allocations, fact.currency, ledger.get
    )
    if rejection is not None:
        return rejection
    posting = posting_in(ledger, note.currency)
    word = (fact.allocated_on.toordinal(), recorded)
    if note.list_word is None or word > note.list_word:
        deadline = max(note.next_deadline, ledger.day + ledger.horizon_days)
        after = replace(note, allocations=stated, list_word=word, next_deadline=deadline)
        _post_note(posting, fact.credit_note_id, note, after)
    return posting


def cancel_credit_note(fact: CreditNoteCancelled, ledger: LedgerView) -> Posting | Rejection:
    """A credit note is void: what it settled is open again.

    >>> fact = CreditNoteCancelled.model_construct(credit_note_id="K-1")
    >>> cancel_credit_note(fact, LedgerView({}, {}.get, 120, overdue_days=15, horizon_days=400)).field
    'credit_note_id'
    """
    note = _find_note(fact.credit_note_id, ledger.get)
    if isinstance(note, Rejection):
        return note
    posting = posting_in(ledger, note.currency)
    _post_note(posting, fact.credit_note_id, note, replace(note, is_void=True))
    return posting


def _find_note(credit_note_id: str, get: Get) -> CreditNote | Rejection:
    note: CreditNote | None = get(credit_note_key(credit_note_id))
    if note is None:
        return Rejection(f"credit note {credit_note_id} is not known: send the credit note first", "credit_note_id")
    return note


def _post_note(posting: Posting, credit_note_id: str, before: CreditNote | None, after: CreditNote) -> None:
    parts, rest = parts_of(after)
    old_parts, old_rest = parts_of(before) if before is not None else ((), ZERO)
    old = dict(old_parts)
    for invoice_id, part in parts:
        post_part(posting, invoice_id, after.currency, part - old.pop(invoice_id, ZERO), "credited")
    for invoice_id, part in old.items():
        post_part(posting, invoice_id, after.currency, -part, "credited")
    posting.add_unapplied(after.currency, rest - old_rest)
    posting.rows[credit_note_key(credit_note_id)] = after


# -- ageing
def age_item(item: Item, balance: Balance, ledger: LedgerView) -> tuple[Item, Balance]:
    """Move an open item into the bucket of the day, and count it as overdue once it is late enough for an alert.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> ledger = LedgerView({}, {}.get, 145, overdue_days=15, horizon_days=400)
    >>> item, balance = age_item(item, Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO)), ledger)
    >>> item.bucket, item.counted_overdue, balance.overdue_items, balance.overdue
    (1, True, 1, Decimal('5.00'))
    """
    return move_item(item, item, balance, ledger) if item.open else (item, balance)


def uncovered(item: Item, balance: Balance) -> Decimal:
    """What is owed of an item that has just become overdue, beyond unapplied cash, which covers the oldest due first.

    ``balance`` has the item among what is not due yet.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> older = (Decimal(5), Decimal(2), ZERO, ZERO, ZERO)
    >>> [uncovered(item, Balance(buckets=older, unapplied=Decimal(cash))) for cash in (0, 3, 7)]
    [Decimal('5'), Decimal('4.00'), Decimal('0.00')]
    """
    _, a, b, c, d = balance.disputed
    older = balance.overdue - (a + b + c + d) if item.bucket == 0 else balance.overdue - (a + b + c + d) - item.open
    return min(item.open, max(ZERO, older + item.open - balance.unapplied))


def worst_days_past_due(balances: dict[str, Balance]) -> int:
    """A lower bound of the worst days past due over all currencies: 0, 1, 15, 31, 61 or 91; net of dispute and unapplied cash.

    >>> worst_days_past_due({"EUR": Balance(buckets=(ZERO, ZERO, Decimal(5), ZERO, ZERO))})
    31
    >>> worst_days_past_due({"EUR": Balance(buckets=(ZERO, Decimal(1), Decimal(5), ZERO, ZERO), unapplied=Decimal(5))})
    1
    """
    worst = 0
    for balance in balances.values():
        _, up_to_30, up_to_60, up_to_90, over_90 = balance.buckets
        if not (up_to_30 or up_to_60 or up_to_90 or over_90):
            continue
        _, disputed_30, disputed_60, disputed_90, disputed_over = balance.disputed
        cash = balance.unapplied
        sums = (over_90 - disputed_over, up_to_90 - disputed_90, up_to_60 - disputed_60, up_to_30 - disputed_30)
        for days, part in zip((91, 61, 31, 15 if balance.late_items else 1), sums, strict=True):
            if part > cash:
                worst = max(worst, days)
                break
            cash -= part
    return worst
