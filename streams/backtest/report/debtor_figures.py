"""Figures of debtors and segments: where the score is off, how early warnings come, how fast forecasts follow a change."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from agents.debtor.alerts.types import EARLY_WARNING_DAYS
from streams.backtest.evaluation import Evaluation
from streams.backtest.lead_times import ANY_KIND, CALLED_LATE_FROM, LeadTime
from streams.backtest.regime_changes import AFTER_DAYS, BEFORE_DAYS, COMPARED_WEEKS
from streams.backtest.report.figure import FIFTHS, Figure, percent
from streams.backtest.report.svg import Plot, Series, legend, number_ticks, range_of
from streams.backtest.report.wording import count_of, miscalibrated_parts
from streams.backtest.segments import SegmentQuality


def segments_figure(segments: Sequence[SegmentQuality]) -> Figure | None:
    if not segments:
        return None
    ends = [end for s in segments for end in (s.bias.low, s.bias.high)]
    across, height = range_of([*ends, 0.0], low=-1.0, high=1.0), 60 + 26 * len(segments)
    plot = Plot(across, (0.0, float(len(segments))), "Calibration by segment", width=940, height=height, left=270)
    plot.axes("late share that came, less what was said: right of zero, the score was too hopeful", "",
              [(v, f"{100 * v:+.3g} %" if v else "0") for v, _ in number_ticks(plot.x, 8)], [(-9.0, "")])  # fmt: skip
    plot.rule(x=0.0)
    for i, s in enumerate(segments):
        up = len(segments) - i - 0.5
        plot.reach((s.bias.low, up), (s.bias.high, up), "s0")
        plot.dot(s.bias.value, up, "s0", f"{s.family} {s.name}: {s.bias.value:+.3f}, {s.quality.labels:,} invoices")
        x, y = plot.at(plot.x[0], up)
        plot.words(x - 12, y + 4, f"{s.family}: {s.name}", "end", "row")
    miscalibrated = [f"{s.family} {s.name}" for s in segments if s.bias.low > 0 or s.bias.high < 0]
    see = miscalibrated_parts(miscalibrated, len(segments)) + (
        "; where the line crosses zero it keeps its word." if len(segments) > len(miscalibrated) > 0 else "."
    )
    lines = [_segment_line(s) for s in segments]
    head = ("segment", "invoices", "late", "said", "AUC", "log loss", "log loss of the bar")
    return Figure("Calibration by segment", see, plot.svg(), head, lines, wide=True)


def _segment_line(s: SegmentQuality) -> tuple[str, ...]:
    q = s.quality
    auc = "-" if q.auc is None else f"{q.auc:.4f}"
    bar = "-" if s.benchmark is None else f"{s.benchmark.log_loss:.4f}"
    return f"{s.family}: {s.name}", f"{q.labels:,}", percent(q.positives), percent(s.mean_forecast), auc, f"{q.log_loss:.4f}", bar


def late_calls_figure(evaluation: Evaluation) -> Figure | None:
    calls = evaluation.late_calls
    if not calls.late:
        return None
    most = int(min(120, max(7, np.percentile(calls.called_early + calls.not_called, 98))))
    step = max(1, round(most / 20))
    edges = np.arange(0, most + step, step)
    yes = np.histogram(np.clip(calls.called_early, 0, most), edges)[0]
    no = np.histogram(np.clip(calls.not_called, 0, most), edges)[0]
    plot = Plot((0.0, float(edges[-1])), (0.0, float((yes + no).max()) * 1.05), "Days from issue to due date of late invoices")
    plot.axes("days from the call, at issue, to the due date", "late invoices")
    for a, b, low, high in zip(yes, no, edges, edges[1:], strict=False):
        plot.bar(float(low), float(high), float(a + b), "faint", f"{b:,} not called, {low} to {high - 1} days ahead", float(a))
        plot.bar(float(low), float(high), float(a), "s0", f"{a:,} called, {low} to {high - 1} days ahead")
    early = calls.called_early
    see = (
        f"Of {calls.late:,} late invoices {percent(calls.caught_share, 0)} (blue) were called more likely late than not "
        "when they were issued, "
        + (f"in the middle {count_of(median(early), 'day')} before they were due; " if early else "")
        + f"{percent(calls.precision, 0)} of the calls came true. Grey: late, and not called at {CALLED_LATE_FROM:.0%}."
    )
    return Figure("Warning before the due date", see, plot.svg())


def lead_times_figure(evaluation: Evaluation) -> Figure | None:
    if not evaluation.defaulted or not evaluation.lead_times:
        return None
    plot = Plot((-float(EARLY_WARNING_DAYS), 0.0), (0.0, 1.0), "Share of the defaulting debtors that had been warned of")
    days_back = [(-float(d), str(d)) for d in range(0, EARLY_WARNING_DAYS + 1, 30)]
    plot.axes("days before the default", "share warned of", days_back, FIFTHS)
    series = []
    for i, lead in enumerate(evaluation.lead_times):
        style = "s0" if lead.kind == ANY_KIND else f"s{i % 5 + 1}"
        series.append(Series(lead.kind.replace("_", " "), style, ()))
        days = sorted(lead.days, reverse=True)
        points = [(-float(EARLY_WARNING_DAYS), 0.0), *((-float(d), (n + 1) / lead.defaulted) for n, d in enumerate(days))]
        plot.steps([*points, (0.0, len(days) / lead.defaulted)], style, lead.kind)
    any_kind = next(lead for lead in evaluation.lead_times if lead.kind == ANY_KIND)
    when = "" if any_kind.median is None else (
        f", in the middle {count_of(any_kind.median.value, 'day')} before [{any_kind.median.low:.0f}, {any_kind.median.high:.0f}]"
    )  # fmt: skip
    caught_share = len(any_kind.days) / max(1, any_kind.defaulted)
    false_share = any_kind.false_alarms / max(1, any_kind.good)
    see = (
        f"Of {count_of(evaluation.defaulted, 'debtor')} that defaulted {percent(caught_share, 0)} had "
        f"been warned of{when}. The price: {percent(false_share, 0)} of the {any_kind.good:,} others "
        "were warned of at some time, too."
    )
    head = ("warning", "defaulted debtors warned of", "days before, median", "good debtors warned of")
    return Figure(
        "Warning before a default",
        see,
        legend(series) + plot.svg(),
        head,
        [_lead_time_line(lead) for lead in evaluation.lead_times],
    )


def _lead_time_line(lead: LeadTime) -> tuple[str, ...]:
    warned, false_alarms = (" to ".join(percent(end, 0) for end in ends) for ends in (lead.caught_interval, lead.false_interval))
    days = "-" if lead.median is None else f"{lead.median.value:.0f} [{lead.median.low:.0f}, {lead.median.high:.0f}]"
    name = lead.kind.replace("_", " ")
    return (
        name,
        f"{len(lead.days)} of {lead.defaulted} [{warned}]",
        days,
        f"{lead.false_alarms} of {lead.good:,} [{false_alarms}]",
    )


def regime_changes_figure(evaluation: Evaluation) -> Figure | None:
    if not evaluation.adaptations:
        return None
    outcomes, *scorers = evaluation.adaptations
    plot = Plot((-float(BEFORE_DAYS), float(AFTER_DAYS)), (0.0, 1.0), "Forecasts around a change of behaviour")
    days_after = [(float(d), str(d)) for d in range(-BEFORE_DAYS, AFTER_DAYS + 1, 30)]
    plot.axes("days after the change (by the day of issue)", "late: came, and was said", days_after, FIFTHS)
    plot.rule(x=0.0)
    plot.line(outcomes.curve, "truth", outcomes.name)
    for i in reversed(range(len(scorers))):
        plot.line(scorers[i].curve, f"s{i}", scorers[i].name)
    series = [Series(outcomes.name, "truth", ()), *(Series(scorer.name, f"s{i}", ()) for i, scorer in enumerate(scorers))]
    days = scorers[0].days_to_half_way
    see = (
        f"{count_of(len(evaluation.changes), 'debtor')} changed from punctual to late or back "
        "(the latter are drawn upside down); "
        + (
            f"duewatch went half the way within {count_of(days, 'day')}."
            if days is not None
            else f"duewatch went half the way in none of the {AFTER_DAYS} days after."
        )
        + f" Changes are looked for in the outcomes, {COMPARED_WEEKS} weeks before and after: "
        "some of the jump is chance, for all alike."
    )
    lines = [(scorer.name, "-" if scorer.days_to_half_way is None else str(scorer.days_to_half_way)) for scorer in scorers]
    return Figure("After a change of behaviour", see, legend(series) + plot.svg(), ("scorer", "days until half-way"), lines)
