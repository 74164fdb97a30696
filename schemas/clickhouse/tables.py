"""The tables that the sink writes: their names, their columns, and the topics that fill them.

The tables themselves are made by the numbered migrations beside this file; ``tests/integration/test_migrations.py`` holds the two
together.
"""

from __future__ import annotations

from schemas.registry import TOPICS

_ENVELOPE = ("id", "partition", "offset", "time", "recorded_time")
_CAUSES = ("causation_id", "correlation_id")
_VERSIONS = ("policy_version", "model_version", "code_version")
_LIMIT = (
    *_ENVELOPE, *_CAUSES,
    "customer_id", "limit_change_id", "generation", "sequence", "previous_limit", "new_limit", "currency", "terms_days",
    "security_required", "hold", "effective_from", "expires_on", "reasons", "evidence", "supersedes",
    *_VERSIONS,
)  # fmt: skip

TABLES: dict[str, tuple[str, ...]] = {
    "events_raw": (
        "topic", "partition", "offset", "id", "hash", "record", "type", "time", "recorded_time", "customer_id", "key", "data",
        "source", "subject", "correlation_id", "causation_id", "replay_of",
    ),
    "dead_letters_raw": (
        "id", "time", "recorded_time", "topic", "partition", "offset", "reason", "field", "raw", "key", "headers", "recorded_at",
        "code_version", "event_id", "replay_of", "hash", "record",
    ),
    "failed_deadlines_raw": (
        *_ENVELOPE,
        "customer_id", "kind", "row", "due_on", "try_again_on", "error", "recommended_action", "code_version",
    ),
    "postings": (
        "customer_id", "currency", "invoice_id", "entry", "entry_id", "number", "day", "due_on", "amount", "record",
        "recorded_time",
    ),
    "closures": ("customer_id", "invoice_id", "kind", "day", "record", "recorded_time"),
    "payment_returns": ("customer_id", "currency", "payment_id", "return_id", "day", "amount", "record", "recorded_time"),
    "recoveries": ("customer_id", "currency", "invoice_id", "recovery_id", "day", "amount", "record", "recorded_time"),
    "allocations": (
        "customer_id", "currency", "entry", "entry_id", "allocation_id", "number", "invoice_id", "day", "amount", "record",
        "recorded_time",
    ),
    "return_allocations": (
        "customer_id", "currency", "payment_id", "return_id", "number", "invoice_id", "day", "amount", "record", "recorded_time",
    ),
    "amendments": ("customer_id", "invoice_id", "amendment_id", "day", "due_on", "reference", "record", "recorded_time"),
    "disputes": ("customer_id", "invoice_id", "dispute_id", "kind", "day", "record", "recorded_time"),
    "credit_cancellations": ("customer_id", "credit_note_id", "day", "record", "recorded_time"),
    "customers_raw": (
        "customer_id", "country", "industry", "segment", "terms_days", "parent_id", "group_id", "currency", "insured_limit",
        "security_held", "offset", "record", "recorded_time",
    ),
    "ticks": ("prefix", "partition", "number", "time", "step", "last"),
    "scores_raw": (
        *_ENVELOPE, *_CAUSES,
        "customer_id", "invoice_id", "p_late", "p_default", "ready", "expected_loss", "currency", "band", "reasons", "log_odds",
        "lift", "p_late_30", "expected_paid_on", "paid_from", "paid_to", "loss_given_default", "scorer", "would_change",
        "due_date", "scored_at",
        *_VERSIONS,
    ),
    "alerts_raw": (
        *_ENVELOPE, *_CAUSES,
        "customer_id", "alert_id", "state", "alert_type", "severity", "fingerprint", "raised_at", "cleared_at", "exposure",
        "currency", "reasons", "evidence", "recommended_action",
        *_VERSIONS,
    ),
    "limit_changes_raw": _LIMIT,
    "limit_proposals_raw": _LIMIT,
    "journal_raw": (
        *_ENVELOPE,
        "prefix", "agent", "agent_partition", "number", "runs", "order", "tick", "tick_offset", "context_version", "code_version",
        "applied", "duplicates", "rejected", "outputs", "paused",
    ),
    "model_quality_raw": (
        *_ENVELOPE,
        "target", "segment", "scorer", "in_force", "day", "window_days", "labels", "positives", "auc", "log_loss", "brier", "ece",
        "model_version", "code_version",
    ),
    "model_alerts_raw": (
        *_ENVELOPE,
        "alert_type", "target", "in_force", "day", "window_days", "labels", "log_loss", "late_rate_log_loss", "text",
        "recommended_action", "model_version", "code_version",
    ),
    "models_raw": (*_ENVELOPE, "version", "examples", "step", "data"),
    "training_examples_raw": (
        *_ENVELOPE,
        "customer_id", "example_id", "invoice_id", "target", "label", "keys", "row_logit", "row_variance", "scored_on",
        "matured_on",
    ),
    "sink_positions": ("cluster_id", "topic_id", "topic", "partition", "next_offset", "written_at"),
    "sink_refused": ("table", "row", "error", "refused_at"),
}  # fmt: skip
"""Table -> its columns, in the order in which rows hold their values."""

OUTPUT_TABLES = {
    "scores": "scores_raw",
    "alerts": "alerts_raw",
    "limit-changes": "limit_changes_raw",
    "limit-proposals": "limit_proposals_raw",
}
"""Topic -> table, where the fields of the contract are the columns of the table."""

TOPICS_READ: tuple[str, ...] = (
    *(topic.name for topic in TOPICS.values() if topic.direction != "internal" and topic.name != "current-limits"),
    "clock",
    "models",
    "training-examples",
)
"""Topics that the sink reads. ``current-limits`` holds nothing that ``limit-changes`` does not."""
