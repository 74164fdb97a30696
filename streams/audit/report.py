"""What an audit compared and found: for people, and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from streams.audit.state import PartitionAudit
from streams.recompute.difference import KINDS, Difference, Kind


@dataclass(slots=True)
class Report:
    """What an audit compared and found; at most ``max_differences`` are held, all are counted."""

    max_differences: int = 1_000
    differences: list[Difference] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    debtors_not_judged: Counter[str] = field(default_factory=Counter)
    """Debtors of whom nothing can be said, by the reason."""
    outputs_not_judged: Counter[str] = field(default_factory=Counter)
    """Outputs that are not compared, by the reason."""
    paused: dict[str, list[int]] = field(default_factory=dict)
    """Topic -> partitions that have paused it: no difference, but what waits there was not compared."""
    seconds: float = 0.0

    def add(self, differences: Iterable[Difference]) -> None:
        """Count differences, and hold as many as there is room for."""
        for difference in differences:
            self.counts[difference.kind] += 1
            if len(self.differences) < self.max_differences:
                self.differences.append(difference)

    def add_partition(self, audit: PartitionAudit, partition: int) -> None:
        """Take over the audit of one partition of an agent."""
        self.add(audit.differences)
        self.compared += audit.compared
        self.debtors_not_judged += audit.debtors_not_judged
        self.outputs_not_judged += audit.outputs_not_judged
        for topic in sorted(audit.paused):
            self.paused.setdefault(topic, []).append(partition)

    @property
    def is_clean(self) -> bool:
        """Whether all that was compared is equal."""
        return not self.counts


def as_text(report: Report, limit: int) -> str:
    """For people: at most ``limit`` differences in columns, then one line of what was compared."""
    lines = []
    differences = report.differences[:limit]
    if differences:
        table = [("KIND", "DEBTOR", "WHERE", "FIELD", "EXPECTED", "FOUND")]
        table += [(d.kind, d.subject, d.where, d.field, d.expected[:60], d.found[:60]) for d in differences]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    total = sum(report.counts.values())
    if total > len(differences):
        lines.append(f"... and {total - len(differences):,} more")
    lines += _reservations(report)
    compared = ", ".join(f"{count:,} {name}" for name, count in report.compared.items())
    counts = ", ".join(f"{count:,} in {kind}" for kind, count in report.counts.items())
    outcome = "No difference" if report.is_clean else f"Differences: {counts}"
    lines.append(f"{outcome}. Compared {compared} in {report.seconds:.1f} s.")
    return "\n".join(lines)


def _reservations(report: Report) -> Iterator[str]:
    """What is not a difference, and yet has to be known of an outcome."""
    for reason, count in report.debtors_not_judged.items():
        yield f"{count:,} debtors could not be judged {reason}"
    for reason, count in report.outputs_not_judged.items():
        yield f"{count:,} outputs could not be judged {reason}"
    for topic, partitions in report.paused.items():
        numbers, resume = ", ".join(map(str, partitions)), f"duewatch dead-letters resume {topic} {partitions[0]} --owner NAME"
        yield f"{topic} is paused in partition {numbers}: records that wait there were not compared ({resume})"


def as_json(report: Report) -> str:
    """For programs."""
    fields = {
        "clean": report.is_clean,
        "differences": report.differences,
        "counts": {kind: report.counts[kind] for kind in KINDS},
        "looked_at": report.compared,
        "not_judged": report.debtors_not_judged,
        "outputs_not_judged": report.outputs_not_judged,
        "paused": report.paused,
        "seconds": round(report.seconds, 3),
    }
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
