"""The report's pictures: each with a sentence that says what to see, and its numbers beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

import numpy as np
from markupsafe import Markup

from streams.backtest.evaluation import Judgement, Other
from streams.backtest.history import UNKNOWN
from streams.backtest.lead_times import ANY, CALLED, LOOK_BACK_DAYS, Lead
from streams.backtest.regime_changes import AFTER_DAYS, BEFORE_DAYS, WEEKS
from streams.backtest.report.svg import Plot, Point, Series, dated, key, numbered, span_of
from streams.backtest.report.wording import counted, parts_off, standing
from streams.backtest.scorecard import FEW
from streams.backtest.segments import Segment
from streams.backtest.statistics import Bin, Ints, log_losses, precision_recall, reliability, roc

ROLLING = 1_000
"""Invoices over which the prequential curves are averaged; a tenth of them where there are fewer than ten times as many."""
MOST_POINTS = 260
FIFTHS = [(t / 5, f"{20 * t} %") for t in range(6)]
ROOM_FOR_WORDS = 0.1
"""Of the height, above the highest value that is judged: there it says from where on is judged."""
WORDS_WIDE = 130
"""Nearer than this to the right edge, words lie left of their place."""
LEAST = 1e-4
"""Smaller shares are drawn as this one, where the axes are logarithmic."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture. ``see`` says in a sentence what to see; ``head`` and ``lines`` are its numbers as a table."""

    title: str
    see: str
    picture: Markup
    head: Sequence[str] = ()
    lines: Sequence[Sequence[str]] = ()
    wide: bool = False


def pictures(found: Judgement) -> list[Figure]:
    """Those that there is something to draw of."""
    if found.rows.sum() < FEW:
        return []
    drawn = [
        _reliability(found),
        _advantage(found),
        _roc(found),
        _precision_recall(found),
        _prequential(found),
        _lead(found),
        _segments(found.segments),
        _called(found),
        _leads(found),
        _changes(found),
        _months(found),
        *(_other(other) for other in found.others),
    ]
    return [figure for figure in drawn if figure is not None]


def _styled(found: Judgement) -> list[tuple[int, str]]:
    """Scorers from the last to the first, so that our own line lies on top."""
    return [(i, f"s{i}") for i in reversed(range(len(found.scorers)))]


def _keys(found: Judgement) -> Markup:
    return key([Series(scorer.title, f"s{i}", ()) for i, scorer in enumerate(found.scorers)])


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _reliability(found: Judgement) -> Figure:
    y, p = found.table.late[found.rows], found.scorers[0].p[found.rows]
    bins = reliability(y, p, 10 if len(y) < 2_000 else 20)
    plot = Plot((0.0, 1.0), (0.0, 1.0), "Reliability: how often late was said, and how often it came")
    plot.axes("said: probability of being late", "came: share that was late", FIFTHS, FIFTHS)
    plot.parts.append(_diagonal(plot))
    counts, edges = np.histogram(p, np.linspace(0, 1, 41))
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        height = 0.16 * count / counts.max()
        plot.bar(float(low), float(high), float(height), "faint", f"{count:,} invoices between {low:.3f} and {high:.3f}")
    _bins(plot, bins)
    one = found.judged[0].all
    ece = 0.0 if one is None else one.ece
    off = sum(not low <= b.said <= high for b in bins for low, high in [b.interval()])
    see = (
        f"Dots on the diagonal keep their word: on average the score is {_percent(ece)} off (ECE), and {off or 'none'} of "
        f"{len(bins)} dots lie further from it than chance explains (their 95 % intervals are the lines). "
        "Grey: how often each was said."
    )
    return Figure("Said and come true", see, plot.svg(), _BIN_HEAD, [_bin_line(b) for b in bins])


_BIN_HEAD = ("said, from - to", "invoices", "said on average", "came", "95 % interval")


def _bin_line(b: Bin) -> tuple[str, ...]:
    low, high = b.interval()
    return f"{b.low:.4f} - {b.high:.4f}", f"{b.count:,}", f"{b.said:.4f}", f"{b.came:.4f}", f"{low:.4f} - {high:.4f}"


def _diagonal(plot: Plot) -> str:
    a, b = plot.at(plot.x[0], plot.x[0]), plot.at(plot.x[1], plot.x[1])
    return f'<path class="hint" d="M{a[0]} {a[1]}L{b[0]} {b[1]}"/>'


def _bins(plot: Plot, bins: Sequence[Bin]) -> None:
    for b in bins:
        low, high = b.interval()
        plot.reach((b.said, low), (b.said, high), "s0")
    for b in bins:
        plot.dot(b.said, b.came, "s0", f"said {b.said:.3f}, came {b.came:.3f}, {b.count:,} invoices")


def _advantage(found: Judgement) -> Figure | None:
    """Difference in log loss and its interval, one line per challenger."""
    if not found.ahead:
        return None
    rows = [(one, i + 1) for i, one in enumerate(found.ahead)]
    ends = [end for one, _ in rows for end in (one.log_loss.low, one.log_loss.high)]
    plot = Plot(
        span_of([*ends, 0.0]), (0.0, len(rows) + 0.5), "Our log loss less that of each challenger", height=72 + 44 * len(rows)
    )
    plot.axes("difference in log loss: left of zero, duewatch is better", "", y_ticks=[(-9.0, "")])
    plot.rule(x=0.0)
    for one, i in rows:
        up = len(rows) - i + 0.5
        plot.reach((one.log_loss.low, up), (one.log_loss.high, up), f"s{i}")
        plot.dot(one.log_loss.value, up, f"s{i}", f"{one.scorer.title}: {one.log_loss.value:+.4f}", 5)
        x, y = plot.at(plot.x[0], up)
        plot.words(x, y - 9, f"against {one.scorer.title}", style="over")
    better = sum(one.log_loss.high < 0 for one, _ in rows)
    worse = sum(one.log_loss.low > 0 for one, _ in rows)
    see = (
        f"{standing(better, worse, len(rows))}; where the line crosses zero it is a tie. "
        "Lines are 95 % intervals of a bootstrap over weeks of issue."
    )
    lines = [
        (
            one.scorer.title,
            f"{one.log_loss.value:+.4f} [{one.log_loss.low:+.4f}, {one.log_loss.high:+.4f}]",
            "-" if one.auc is None else f"{one.auc.value:+.4f} [{one.auc.low:+.4f}, {one.auc.high:+.4f}]",
        )
        for one, _ in rows
    ]
    return Figure("How far ahead", see, plot.svg(), ("duewatch less", "log loss", "AUC"), lines)


def _roc(found: Judgement) -> Figure:
    y = found.table.late[found.rows]
    plot = Plot((0.0, 1.0), (0.0, 1.0), "ROC curves")
    plot.axes("share of the punctual that is called late", "share of the late that is caught", FIFTHS, FIFTHS)
    plot.parts.append(_diagonal(plot))
    for i, style in _styled(found):
        plot.line(roc(y, found.scorers[i].p[found.rows], MOST_POINTS), style, found.scorers[i].title)
    own = found.judged[0]
    auc = "-" if own.auc is None else f"{own.auc.value:.4f} [{own.auc.low:.4f}, {own.auc.high:.4f}]"
    see = (
        f"The further up and to the left, the better late and punctual are told apart: area under our curve {auc}, 0.5 is chance."
    )
    lines = [
        (j.scorer.title, "-" if j.auc is None else f"{j.auc.value:.4f} [{j.auc.low:.4f}, {j.auc.high:.4f}]") for j in found.judged
    ]
    return Figure("Ranking", see, _keys(found) + plot.svg(), ("scorer", "AUC [95 %]"), lines)


def _precision_recall(found: Judgement) -> Figure:
    y = found.table.late[found.rows]
    share = float(y.mean())
    plot = Plot((0.0, 1.0), (min(0.9, max(0.0, share - 0.1)) if share > 0.5 else 0.0, 1.0), "Precision and recall")
    up = [(v, f"{100 * v:.0f} %") for v, _ in numbered(plot.y)]
    plot.axes("recall: share of the late that is called", "precision: share of calls that come true", FIFTHS, up)
    plot.rule(y=share)
    precise = 0.0
    for i, style in _styled(found):
        points = precision_recall(y, found.scorers[i].p[found.rows], MOST_POINTS)
        plot.line([pt for pt in points if pt[0] > 0.01], style, found.scorers[i].title)
        precise = next((precision for recall, precision in points if recall >= 0.5), precise)
    see = (
        f"Whoever wants to catch half of the late invoices is right in {_percent(precise, 0)} of the calls with duewatch; "
        f"calling everything late is right in {_percent(share, 0)} (dashed)."
    )
    return Figure("Precision and recall", see, _keys(found) + plot.svg())


def _prequential(found: Judgement) -> Figure:
    """Trailing mean of the log loss over issue order, burn-in included."""
    known = np.flatnonzero(found.table.late != UNKNOWN)
    y = found.table.late[known]
    window = max(30, min(ROLLING, len(known) // 10))
    at = np.unique(np.linspace(window - 1, len(known) - 1, MOST_POINTS).astype(int))
    curves = []
    for scorer in found.scorers:
        sums = np.concatenate(([0.0], np.cumsum(log_losses(y, scorer.p[known]))))
        curves.append([(float(known[i]), float((sums[i + 1] - sums[i + 1 - window]) / window)) for i in at])
    shown = [v for curve in curves for x, v in curve if x >= found.burn_in] or [v for curve in curves for _, v in curve]
    low, high = span_of(shown)
    high += ROOM_FOR_WORDS * (high - low)
    plot = Plot((0.0, float(known[-1] + 1)), (low, high), "Log loss over the invoices in the order of issue", width=940)
    plot.axes("invoices in the order of issue, by the month", f"log loss of the last {window:,}", _by_issue(found.table.issued))
    if found.burn_in:
        plot.rule(x=float(found.burn_in))
    for i, style in _styled(found):
        for run in _within(curves[i], plot.y):
            plot.line(run, style, found.scorers[i].title)
    if found.burn_in:
        x, up = plot.at(float(found.burn_in), high)
        ends = x > plot.width - WORDS_WIDE
        plot.words(x - 5 if ends else x + 5, up + 10, "judged from here", "end" if ends else "start", "over")
    see = "Lower is better. Every forecast was made before its outcome"
    if len(curves) > 1:
        lowest = _percent(_share_lowest(curves, found.burn_in), 0)
        see += f"; after the burn-in duewatch was the best of the {len(curves)} in {lowest} of the time"
    see += "."
    if any(not low <= v <= high for curve in curves for _, v in curve):
        see += " Where a line is missing at the start, it lies outside the picture."
    return Figure("While it learned", see, _keys(found) + plot.svg(), wide=True)


def _within(curve: Sequence[Point], span: Point) -> list[list[Point]]:
    """The stretches of a curve that lie in the picture: the rest, drawn at its edge, would look like values.

    >>> _within([(0, 9.0), (1, 2.0), (2, 1.0), (3, 9.0), (4, 1.0)], (0.0, 3.0))
    [[(1, 2.0), (2, 1.0)], [(4, 1.0)]]
    """
    low, high = span
    return [list(run) for inside, run in groupby(curve, lambda point: low <= point[1] <= high) if inside]


def _by_issue(issued: Ints, first: int = 0) -> list[tuple[float, str]]:
    """The months on an axis of invoices in the order of issue, from the ``first`` on; where few were issued only some of them."""
    room = (len(issued) - first) / 16
    found: list[tuple[float, str]] = []
    for day, text in dated(int(issued[first]), int(issued[-1]), 12):
        place = float(np.searchsorted(issued, day))
        if not found or place - found[-1][0] >= room:
            found.append((place, text))
    return found


def _lead(found: Judgement) -> Figure | None:
    """The sum of the differences in log loss since the burn-in. The late rate, far behind, would hide the others."""
    rivals = [(i, s) for i, s in enumerate(found.scorers) if i and s.name != "late_rate"]
    if not rivals:
        return None
    known = np.flatnonzero(found.rows)
    y = found.table.late[known]
    own = log_losses(y, found.scorers[0].p[known])
    at = np.unique(np.linspace(0, len(known) - 1, MOST_POINTS).astype(int))
    sums = {i: np.cumsum(log_losses(y, s.p[known]) - own) for i, s in rivals}
    curves = {i: [(float(known[k]), float(total[k])) for k in at] for i, total in sums.items()}
    across = (float(known[0]), float(known[-1] + 1))
    plot = Plot(across, span_of([0.0, *(v for c in curves.values() for _, v in c)]), "Lead over the challengers", width=940)
    months = _by_issue(found.table.issued, int(known[0]))
    plot.axes("invoices in the order of issue, by the month", "log loss saved so far", months)
    plot.rule(y=0.0)
    for i, curve in reversed(curves.items()):
        plot.line(curve, f"s{i}", found.scorers[i].title)
    behind = [s.title for i, s in rivals if sums[i][-1] < 0]
    see = (
        "The sum of what duewatch saved in log loss against each challenger: where a line rises duewatch was better, where it "
        "falls "
        + ("worse. " if not behind else f"worse; at the end it is behind {', '.join(behind)}. ")
        + "An even slope is a lasting lead, a jump is luck."
    )
    return Figure(
        "Lead over the challengers", see, key([Series(s.title, f"s{i}", ()) for i, s in rivals]) + plot.svg(), wide=True
    )


def _share_lowest(curves: Sequence[Sequence[tuple[float, float]]], burn_in: int) -> float:
    values = np.array([[v for x, v in curve if x >= burn_in] for curve in curves])
    return float((values[0] <= values.min(axis=0)).mean()) if values.size else 0.0


def _segments(found: Sequence[Segment]) -> Figure | None:
    if not found:
        return None
    ends = [end for s in found for end in (s.missed_by.low, s.missed_by.high)]
    across, height = span_of([*ends, 0.0], low=-1.0, high=1.0), 60 + 26 * len(found)
    plot = Plot(across, (0.0, float(len(found))), "Calibration by segment", width=940, height=height, left=270)
    plot.axes("late share that came, less what was said: right of zero, the score was too hopeful", "",
              [(v, f"{100 * v:+.3g} %" if v else "0") for v, _ in numbered(plot.x, 8)], [(-9.0, "")])  # fmt: skip
    plot.rule(x=0.0)
    for i, s in enumerate(found):
        up = len(found) - i - 0.5
        plot.reach((s.missed_by.low, up), (s.missed_by.high, up), "s0")
        plot.dot(s.missed_by.value, up, "s0", f"{s.family} {s.name}: {s.missed_by.value:+.3f}, {s.quality.labels:,} invoices")
        x, y = plot.at(plot.x[0], up)
        plot.words(x - 12, y + 4, f"{s.family}: {s.name}", "end", "row")
    off = [f"{s.family} {s.name}" for s in found if s.missed_by.low > 0 or s.missed_by.high < 0]
    see = parts_off(off, len(found)) + ("; where the line crosses zero it keeps its word." if len(found) > len(off) > 0 else ".")
    lines = [_segment_line(s) for s in found]
    head = ("segment", "invoices", "late", "said", "AUC", "log loss", "log loss of the bar")
    return Figure("Calibration by segment", see, plot.svg(), head, lines, wide=True)


def _segment_line(s: Segment) -> tuple[str, ...]:
    q = s.quality
    auc = "-" if q.auc is None else f"{q.auc:.4f}"
    bar = "-" if s.bar is None else f"{s.bar.log_loss:.4f}"
    return f"{s.family}: {s.name}", f"{q.labels:,}", _percent(q.positives), _percent(s.said), auc, f"{q.log_loss:.4f}", bar


def _called(found: Judgement) -> Figure | None:
    told = found.calls
    if not told.late:
        return None
    most = int(min(120, max(7, np.percentile(told.called_early + told.not_called, 98))))
    step = max(1, round(most / 20))
    edges = np.arange(0, most + step, step)
    yes = np.histogram(np.clip(told.called_early, 0, most), edges)[0]
    no = np.histogram(np.clip(told.not_called, 0, most), edges)[0]
    plot = Plot((0.0, float(edges[-1])), (0.0, float((yes + no).max()) * 1.05), "Days from issue to due date of late invoices")
    plot.axes("days from the call, at issue, to the due date", "late invoices")
    for a, b, low, high in zip(yes, no, edges, edges[1:], strict=False):
        plot.bar(float(low), float(high), float(a + b), "faint", f"{b:,} not called, {low} to {high - 1} days ahead", float(a))
        plot.bar(float(low), float(high), float(a), "s0", f"{a:,} called, {low} to {high - 1} days ahead")
    early = told.called_early
    see = (
        f"Of {told.late:,} late invoices {_percent(told.caught, 0)} (blue) were called more likely late than not when they were "
        "issued, "
        + (f"in the middle {counted(median(early), 'day')} before they were due; " if early else "")
        + f"{_percent(told.precision, 0)} of the calls came true. Grey: late, and not called at {CALLED:.0%}."
    )
    return Figure("Warning before the due date", see, plot.svg())


def _leads(found: Judgement) -> Figure | None:
    if not found.defaulted or not found.leads:
        return None
    plot = Plot((-float(LOOK_BACK_DAYS), 0.0), (0.0, 1.0), "Share of the defaulting debtors that had been warned of")
    days_back = [(-float(d), str(d)) for d in range(0, LOOK_BACK_DAYS + 1, 30)]
    plot.axes("days before the default", "share warned of", days_back, FIFTHS)
    series = []
    for i, lead in enumerate(found.leads):
        style = "s0" if lead.kind == ANY else f"s{i % 5 + 1}"
        series.append(Series(lead.kind.replace("_", " "), style, ()))
        days = sorted(lead.days, reverse=True)
        points = [(-float(LOOK_BACK_DAYS), 0.0), *((-float(d), (n + 1) / lead.defaulted) for n, d in enumerate(days))]
        plot.steps([*points, (0.0, len(days) / lead.defaulted)], style, lead.kind)
    whole = next(lead for lead in found.leads if lead.kind == ANY)
    when = "" if whole.median is None else (
        f", in the middle {counted(whole.median.value, 'day')} before [{whole.median.low:.0f}, {whole.median.high:.0f}]"
    )  # fmt: skip
    see = (
        f"Of {counted(found.defaulted, 'debtor')} that defaulted {_percent(len(whole.days) / max(1, whole.defaulted), 0)} had "
        f"been warned of{when}. The price: {_percent(whole.false_alarms / max(1, whole.good), 0)} of the {whole.good:,} others "
        "were warned of at some time, too."
    )
    head = ("warning", "defaulted debtors warned of", "days before, median", "good debtors warned of")
    return Figure("Warning before a default", see, key(series) + plot.svg(), head, [_lead_line(lead) for lead in found.leads])


def _lead_line(lead: Lead) -> tuple[str, ...]:
    caught, false = (" to ".join(_percent(end, 0) for end in ends) for ends in (lead.caught_interval, lead.false_interval))
    days = "-" if lead.median is None else f"{lead.median.value:.0f} [{lead.median.low:.0f}, {lead.median.high:.0f}]"
    name = lead.kind.replace("_", " ")
    return name, f"{len(lead.days)} of {lead.defaulted} [{caught}]", days, f"{lead.false_alarms} of {lead.good:,} [{false}]"


def _changes(found: Judgement) -> Figure | None:
    if not found.followed:
        return None
    came, *told = found.followed
    plot = Plot((-float(BEFORE_DAYS), float(AFTER_DAYS)), (0.0, 1.0), "Forecasts around a change of behaviour")
    days_after = [(float(d), str(d)) for d in range(-BEFORE_DAYS, AFTER_DAYS + 1, 30)]
    plot.axes("days after the change (by the day of issue)", "late: came, and was said", days_after, FIFTHS)
    plot.rule(x=0.0)
    plot.line(came.curve, "truth", came.name)
    for i in reversed(range(len(told))):
        plot.line(told[i].curve, f"s{i}", told[i].name)
    series = [Series(came.name, "truth", ()), *(Series(one.name, f"s{i}", ()) for i, one in enumerate(told))]
    days = told[0].half_way
    see = (
        f"{counted(len(found.changes), 'debtor')} changed from punctual to late or back (the latter are drawn upside down); "
        + (
            f"duewatch went half the way within {counted(days, 'day')}."
            if days is not None
            else f"duewatch went half the way in none of the {AFTER_DAYS} days after."
        )
        + f" Changes are looked for in the outcomes, {WEEKS} weeks before and after: some of the jump is chance, for all alike."
    )
    lines = [(one.name, "-" if one.half_way is None else str(one.half_way)) for one in told]
    return Figure("After a change of behaviour", see, key(series) + plot.svg(), ("scorer", "days until half-way"), lines)


def _months(found: Judgement) -> Figure:
    known = found.table.late != UNKNOWN
    issued, y, p = found.table.issued[known], found.table.late[known], found.table.p_late[known]
    weeks = issued // 28
    came, said = [], []
    for block in np.unique(weeks):
        part = weeks == block
        came.append((float(issued[part].mean()), float(y[part].mean())))
        said.append((float(issued[part].mean()), float(p[part].mean())))
    plot = Plot(
        (float(issued[0]), float(issued[-1])),
        span_of([v for _, v in came + said], low=0.0, high=1.0),
        "Late share by time of issue",
    )
    plot.axes(
        "four weeks of issue",
        "share late",
        dated(int(issued[0]), int(issued[-1])),
        [(v, f"{100 * v:.0f} %") for v, _ in numbered(plot.y)],
    )
    plot.line(came, "truth", "came")
    plot.line(said, "s0", "said")
    gap = float(np.mean([abs(a[1] - b[1]) for a, b in zip(came, said, strict=True)]))
    see = (
        f"What was said of the invoices of four weeks, and what came of them, lie {_percent(gap)} apart on average; early on, "
        "nothing was known yet, and of the last weeks only the invoices that were soon due can be judged."
    )
    return Figure("Over time", see, key([Series("came", "truth", ()), Series("said", "s0", ())]) + plot.svg())


_NAMES = {"default": "default", "late_30": "more than 30 days late"}


def _other(other: Other) -> Figure:
    """On logarithmic axes, as most of the probabilities are far below one in a hundred."""
    name = _NAMES[other.name]
    lowest = max(LEAST, min(b.said for b in other.bins))
    decades = range(int(np.floor(np.log10(lowest))), 1)
    ticks = [(float(d), f"{100 * 10.0**d:.10g} %") for d in decades]
    ends = (float(decades[0]), 0.0)
    plot = Plot(ends, ends, f"Reliability of the probability of {name}")
    plot.axes(f"said: probability of {name}, logarithmic", "came", ticks, ticks)
    plot.parts.append(_diagonal(plot))
    for b in other.bins:
        said, came = _decade(b.said), _decade(b.came)
        low, high = b.interval()
        plot.reach((said, _decade(low)), (said, _decade(high)), "s0")
        plot.dot(said, came, "s0", f"said {b.said:.5f}, came {b.came:.5f}, {b.count:,} invoices")
    q = other.quality
    said = float(np.average([b.said for b in other.bins], weights=[b.count for b in other.bins]))
    auc = "cannot be ranked, as all came out alike" if q.auc is None else f"AUC {q.auc:.3f}"
    see = (
        f"Of {q.labels:,} invoices, paid in time or not, {_percent(q.positives, 2)} came to this, and {_percent(said, 2)} was "
        f"said on average; {auc}. Dots on the lower edge: none came."
    )
    return Figure(f"Said and come true: {name}", see, plot.svg(), _BIN_HEAD, [_bin_line(b) for b in other.bins])


def _decade(share: float) -> float:
    return float(np.log10(max(share, LEAST)))
