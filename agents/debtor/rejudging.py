"""Who is judged again because the rates have changed, in which order, and how far that has come. Pure.

An exposure in a foreign currency may pass a limit, or become unknown, without any event of the debtor. So with new rates every
debtor with a foreign balance is judged, so many with a slice, and how far that has come is in the partition's row
``keys.OPENED``: whoever takes the partition over goes on there, and whoever recomputes it judges the same debtors with the same
slices.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from agents.debtor.state import Opening, RatesInForce, encode_rates, has_foreign_balance
from schemas.events.rates import RatesPublished
from schemas.ids import content_hash


def place_of(customer_id: str) -> str:
    """A debtor's place in the order: by a hash, so that no sender's numbering decides who waits.

    >>> place_of("C-1")[HASH_LENGTH:], place_of("C-3") < place_of("C-1")
    ('C-1', False)
    """
    return content_hash(customer_id.encode()) + customer_id


def with_rates(opening: Opening, context_rates: RatesPublished | None) -> Opening:
    """The row with the rates in force; if they are others than before, all debtors wait for being judged by them.

    Rates that are replaced before everybody was judged by them leave those before them to compare with.

    >>> opening = with_rates(Opening("act", 0, True, 739000), None)
    >>> opening.judged_up_to is None
    True
    >>> from decimal import Decimal
    >>> usd = RatesPublished.model_construct(base="EUR", rates={"USD": Decimal("0.9")})
    >>> with_rates(opening, usd).judged_up_to, with_rates(with_rates(opening, usd), usd).judged_up_to
    ('', '')
    """
    rates = None if context_rates is None else RatesInForce(context_rates.base, dict(context_rates.rates))
    if rates == opening.rates:
        return opening
    before = opening.rates if opening.judged_up_to is None else opening.rates_before
    return replace(opening, rates=rates, rates_before=before, judged_up_to="")


def waiting(opening: Opening, headers: Iterable[tuple[str, bytes]], currency: str) -> list[str]:
    """Who is still to be judged by the rates in force, the next one last.

    >>> foreign, domestic = b'{"balances":{"USD":{"exposure":"5.00"}}}', b'{"balances":{"EUR":{"exposure":"5.00"}}}'
    >>> headers = [("C-1", foreign), ("C-2", domestic), ("C-3", foreign)]
    >>> waiting(Opening("act", 0, True, 739000, judged_up_to=""), headers, "EUR")
    ['C-3', 'C-1']
    >>> waiting(Opening("act", 0, True, 739000, judged_up_to=place_of("C-1")), headers, "EUR")
    ['C-3']
    >>> waiting(Opening("act", 0, True, 739000), headers, "EUR")
    []
    """
    if opening.judged_up_to is None:
        return []
    places = [place_of(customer_id) for customer_id, header in headers if has_foreign_balance(header, currency)]
    left = sorted((place for place in places if place > opening.judged_up_to), reverse=True)
    return [place[HASH_LENGTH:] for place in left]


def version_of(rates: RatesInForce | None) -> str:
    """What tells rates from others, as part of the ids of what follows from them."""
    return content_hash(encode_rates(rates))


HASH_LENGTH = len(content_hash(b""))
