"""Structs to write messages with: a contract's fields and none of its checks, ten times cheaper to make.

What the brain sends is right by construction; that it fits its contract is for tests to show, not for every output to pay.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from schemas.base import Contract

C = TypeVar("C", bound=Contract)


def struct_for(contract: type[C]) -> type[C]:
    """A struct class with the fields and defaults of ``contract``; to the type checker it is the contract.

    >>> from schemas.outputs.common import Reason
    >>> struct_for(Reason)(code="overdue", text="Two invoices are overdue").contribution
    0.0
    """
    fields: list[Any] = [
        (name, object) if field.is_required() else (name, object, field.get_default())
        for name, field in contract.model_fields.items()
    ]
    return cast("type[C]", msgspec.defstruct(contract.__name__, fields, frozen=True, kw_only=True, gc=False))
