"""Which topic carries which contracts, with which key, partitions and cleanup: topics are made from this, and only from this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from schemas.base import Contract
from schemas.events import assessments, bank, clock, customers, decisions, insolvency, models, payments, policies, rates
from schemas.outputs import alerts, limits, operations, quality, scores

DAY_MS = 86_400_000
RETENTION_DAYS = 3_650


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic without its prefix. ``partitions`` None = the prefix's count. ``key``: what the record's key is."""

    name: str
    contracts: dict[str, type[Contract]]
    direction: Literal["in", "out", "internal"]
    key: Literal["customer", "partition", "none"] = "customer"
    partitions: int | None = None
    cleanup: Literal["delete", "compact"] = "delete"
    retention_days: int | None = RETENTION_DAYS
    """None = kept for ever."""
    about: str = ""
    config: dict[str, str] = field(default_factory=dict)

    def broker_config(self) -> dict[str, str]:
        """Settings of the topic on the broker."""
        settings = {"cleanup.policy": self.cleanup, **self.config}
        if self.cleanup == "delete":
            settings["retention.ms"] = str(-1 if self.retention_days is None else self.retention_days * DAY_MS)
        return settings


_STATE = {"segment.bytes": str(32 << 20), "min.cleanable.dirty.ratio": "0.1", "max.message.bytes": str(8 << 20)}
# A context record carries the shared model by value.
_LARGE = {"max.message.bytes": str(8 << 20)}

_CLOCK: dict[str, type[Contract]] = {
    "duewatch.clock.ticked.v1": clock.Ticked,
    "duewatch.context.set.v1": clock.ContextSet,
    "duewatch.source.resumed.v1": clock.SourceResumed,
}

_ALL = (
    Topic(
        "payments",
        {
            "duewatch.invoice.issued.v1": payments.InvoiceIssued,
            "duewatch.payment.received.v1": payments.PaymentReceived,
            "duewatch.payment.allocated.v1": payments.PaymentAllocated,
            "duewatch.payment.returned.v1": payments.PaymentReturned,
            "duewatch.credit_note.issued.v1": payments.CreditNoteIssued,
            "duewatch.credit_note.allocated.v1": payments.CreditNoteAllocated,
            "duewatch.credit_note.cancelled.v1": payments.CreditNoteCancelled,
            "duewatch.invoice.amended.v1": payments.InvoiceAmended,
            "duewatch.invoice.cancelled.v1": payments.InvoiceCancelled,
            "duewatch.invoice.reinstated.v1": payments.InvoiceReinstated,
            "duewatch.invoice.written_off.v1": payments.InvoiceWrittenOff,
            "duewatch.write_off.reversed.v1": payments.WriteOffReversed,
            "duewatch.recovery.received.v1": payments.RecoveryReceived,
            "duewatch.dispute.opened.v1": payments.DisputeOpened,
            "duewatch.dispute.closed.v1": payments.DisputeClosed,
            "duewatch.promise.made.v1": payments.PromiseMade,
            "duewatch.dunning.sent.v1": payments.DunningSent,
        },
        "in",
        about="what happens to a debtor's invoices",
    ),
    Topic(
        "bank-transactions",
        {
            "duewatch.bank_transaction.booked.v1": bank.BankTransactionBooked,
            "duewatch.bank_balance.reported.v1": bank.BankBalanceReported,
        },
        "in",
        about="movements and balances of a debtor's account, with consent",
    ),
    Topic(
        "insolvency-events",
        {"duewatch.insolvency.matched.v1": insolvency.InsolvencyMatched},
        "in",
        about="stage, match and its evidence",
    ),
    Topic(
        "customers",
        {"duewatch.customer.updated.v1": customers.CustomerUpdated},
        "in",
        cleanup="compact",
        about="master data",
        # What was replaced is kept for as long as the events that were judged by it: a decision is made again from both.
        config={"min.compaction.lag.ms": str(RETENTION_DAYS * DAY_MS)},
    ),
    Topic(
        "assessments",
        {"duewatch.rating.received.v1": assessments.RatingReceived, "duewatch.note.made.v1": assessments.NoteMade},
        "in",
        about="external ratings, salespeople's notes",
    ),
    Topic("decisions", {"duewatch.decision.made.v1": decisions.DecisionMade}, "in", about="what people decided"),
    Topic(
        "clock",
        _CLOCK,
        "internal",
        key="partition",
        about="ticks and context, written to every partition in one transaction; and what a person lets it read on",
        config=_LARGE,
    ),
    Topic(
        "clock-single",
        _CLOCK,
        "internal",
        key="partition",
        partitions=1,
        about="the same for the agents of one partition",
        config=_LARGE,
    ),
    Topic(
        "credit-policies",
        {"duewatch.policy.published.v1": policies.PolicyPublished},
        "in",
        key="none",
        partitions=1,
        cleanup="compact",
        about="the credit policy, read by the clock",
    ),
    Topic(
        "rates",
        {"duewatch.rates.published.v1": rates.RatesPublished},
        "in",
        key="none",
        partitions=1,
        cleanup="compact",
        about="exchange rates, read by the clock",
    ),
    Topic(
        "models",
        {"duewatch.model.published.v1": models.ModelPublished},
        "internal",
        key="none",
        partitions=1,
        cleanup="compact",
        about="the shared model, read by the clock",
        config=_LARGE,
    ),
    Topic(
        "training-examples",
        {"duewatch.example.matured.v1": models.ExampleMatured, "duewatch.step.ended.v1": models.StepEnded},
        "internal",
        partitions=1,
        retention_days=None,
        about="labels with what the shared model needs to learn them",
    ),
    Topic("scores", {"duewatch.score.computed.v1": scores.ScoreComputed}, "out", about="of invoices and of debtors"),
    Topic(
        "alerts",
        {"duewatch.alert.raised.v1": alerts.AlertChanged, "duewatch.alert.cleared.v1": alerts.AlertChanged},
        "out",
        about="raised and cleared",
    ),
    Topic(
        "limit-changes",
        {"duewatch.limit.changed.v1": limits.LimitChanged},
        "out",
        retention_days=None,
        about="every change in order, for billing",
    ),
    Topic(
        "limit-proposals",
        {"duewatch.limit.proposed.v1": limits.LimitChanged},
        "out",
        about="what an installation that only observes would do",
    ),
    Topic(
        "current-limits",
        {"duewatch.limit.current.v1": limits.LimitChanged},
        "out",
        cleanup="compact",
        about="the last change of each debtor",
    ),
    Topic(
        "model-quality",
        {"duewatch.model.measured.v1": quality.ModelMeasured, "duewatch.model.alerted.v1": quality.ModelAlerted},
        "out",
        key="none",
        partitions=1,
        about="how good each scorer is on what matures, drift, and who is in force",
    ),
    Topic(
        "journal",
        {"duewatch.slice.committed.v1": operations.SliceCommitted},
        "out",
        key="partition",
        about="what each transaction applied",
    ),
    Topic(
        "dead-letters",
        {
            "duewatch.record.rejected.v1": operations.RecordRejected,
            "duewatch.source.pause_changed.v1": operations.SourcePauseChanged,
            "duewatch.deadline.failed.v1": operations.DeadlineFailed,
        },
        "out",
        key="none",
        partitions=1,
        retention_days=None,
        about="what could not be applied, with its bytes; which partition of which topic is paused for it; deadlines that failed",
        config=_LARGE,
    ),
    Topic("debtor-state", {}, "internal", cleanup="compact", about="rows of debtors, positions, context in force", config=_STATE),
    Topic(
        "learner-state",
        {},
        "internal",
        key="none",
        partitions=1,
        cleanup="compact",
        about="the shared model and positions",
        config=_STATE,
    ),
)

TOPICS: dict[str, Topic] = {topic.name: topic for topic in _ALL}
"""Name without prefix -> topic."""

DEBTOR_SOURCES: tuple[str, ...] = ("customers", "payments", "bank-transactions", "insolvency-events", "assessments", "decisions")
"""The source topics of the debtor agent, equal in partitions."""

CONTRACTS: dict[str, type[Contract]] = {name: contract for topic in _ALL for name, contract in topic.contracts.items()}
"""CloudEvents type -> contract."""

TOPIC_OF_TYPE: dict[str, str] = {name: topic.name for topic in _ALL if topic.direction != "internal" for name in topic.contracts}
"""CloudEvents type -> the topic that carries it."""
