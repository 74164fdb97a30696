"""Topic ``insolvency-events``: what the directory made of a register's notice, keyed by the debtor that it concerns."""

from __future__ import annotations

import warnings
from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import ADDED, BusinessDate, Contract, Id, Probability, Text

Stage = Literal[
    "petition", "preliminary", "opened", "refused", "reorganisation", "plan", "converted", "closed", "dismissed", "cancelled",
    "solvent_winding_up", "none",
]  # fmt: skip
"""Where a proceeding stands, in the words that all registers are mapped to."""
STAGES: tuple[str, ...] = get_args(Stage)


with warnings.catch_warnings():
    # pydantic warns that the field ``register`` hides ABCMeta.register, which no contract calls.
    warnings.simplefilter("ignore", UserWarning)

    class InsolvencyMatched(Contract):
        """A notice concerns this debtor: ``certain`` by identifiers, ``possible`` by name. Only a certain match acts alone."""

        customer_id: Id
        notice_id: Id
        register: Text = Field()  # said to be required: pydantic would take ABCMeta.register for its default
        court: Text | None = None
        proceeding_id: Annotated[Id | None, ADDED] = None
        """Which proceeding it is: in most registers court and case number. Without it, all notices of a court are of one."""
        kind: Text
        stage: Stage
        stage_reason: Text | None = None
        match: Literal["certain", "possible"]
        match_score: Probability = 1.0
        match_evidence: tuple[Text, ...] = ()
        decided_on: BusinessDate | None = None
        published_on: BusinessDate
        corrects: Id | None = None
        url: Text | None = None
