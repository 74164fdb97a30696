"""Rows of many debtors, cloned from those that the workload leaves behind: to be restored, or to be folded on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import SCORE, SEPARATOR, split_key
from agents.debtor.payments.state import Item as PaymentItem
from agents.debtor.state import decode
from tests.bench.workload import Workload, cuts, decode_cut

KeyedRows = tuple[tuple[str, bytes], ...]
"""Rows with their keys."""


class Templates(NamedTuple):
    """What clones are made of. ``own``: the brain's rows that belong to no debtor, by key in the state topic.

    ``debtors``: of each, what does not grow with its invoices (header, and what the score has learned). ``items``: of each open
    invoice its own row, and that of its features as long as a label is to come. Both by row key.
    """

    own: KeyedRows
    debtors: list[KeyedRows]
    items: list[KeyedRows]


def fold_rows(workload: Workload, partition: int = 0) -> dict[str, bytes]:
    """What the state topic of a partition holds after the workload."""
    book, rows, now = DebtorBrain(), dict[str, bytes](), None
    for cut in cuts(workload):
        if cut.partition != partition:
            continue
        now = cut.tick.time if cut.tick else now
        received, unfinished = decode_cut(cut), True
        while unfinished:
            result = book.fold(received, now, workload.context, replay=False)
            book.on_committed(result)
            for key, row in result.rows.items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            received, unfinished = [], result.has_more
    return rows


def make_templates(workload: Workload) -> Templates:
    """Headers and open items as they really come to be."""
    rows = fold_rows(workload)
    brain_rows = tuple((key, value) for key, value in rows.items() if not split_key(key)[0])
    items = []
    for key, value in rows.items():
        customer, row_key = split_key(key)
        row = decode(row_key, value) if customer and row_key.startswith("i/") else None
        if isinstance(row, PaymentItem) and row.open:
            features = rows.get(f"{customer}{SEPARATOR}f/{row_key[2:]}")
            entry = [(row_key, value)] + ([(f"f/{row_key[2:]}", features)] if features else [])
            items.append(tuple(entry))
    return Templates(brain_rows, debtors_of(rows), items)


def debtors_of(rows: Mapping[str, bytes]) -> list[KeyedRows]:
    """The rows of each debtor that do not grow with its invoices; ``rows``: by key in the state topic."""
    customers = [split_key(key)[0] for key in rows if not split_key(key)[1]]
    return [
        tuple((row_key, rows[key]) for row_key in ("", SCORE) if (key := f"{customer}{SEPARATOR}{row_key}") in rows)
        for customer in customers
    ]


def name_of(number: int) -> str:
    """The id of a cloned debtor, as long as a simulated one's."""
    return f"clone-{number:07}"


def clone_rows(templates: Templates, debtors: int, items: int) -> Iterator[tuple[str, str, bytes]]:
    """Customer, row key and value of all rows of so many debtors with so many open items between them."""
    for number in range(debtors):
        customer = name_of(number)
        for row_key, value in templates.debtors[number % len(templates.debtors)]:
            yield customer, row_key, value
        for index in range(items * number // debtors, items * (number + 1) // debtors):
            for row_key, value in templates.items[index % len(templates.items)]:
                yield customer, row_key, value
