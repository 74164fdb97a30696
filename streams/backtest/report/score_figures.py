"""Figures of the scorers: calibration, ranking, and how they did over time, each beside the challengers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from markupsafe import Markup

from streams.backtest.evaluation import Evaluation, TargetQuality
from streams.backtest.history import UNKNOWN
from streams.backtest.report.figure import BIN_HEAD, FIFTHS, Figure, bin_line, draw_diagonal, percent
from streams.backtest.report.svg import Plot, Point, Series, date_ticks, legend, number_ticks, range_of
from streams.backtest.report.wording import comparison
from streams.backtest.statistics import Bin, Ints, log_losses, precision_recall, reliability, roc

ROLLING = 1_000
"""Invoices over which the prequential curves are averaged; a tenth of them where there are fewer than ten times as many."""
MAX_POINTS = 260
ROOM_FOR_WORDS = 0.1
"""Of the height, above the highest value that is judged: there it says from where on is judged."""
WORDS_WIDTH = 130
"""Nearer than this to the right edge, words lie left of their place."""
MIN_SHARE = 1e-4
"""Smaller shares are drawn as this one, where the axes are logarithmic."""
_TARGET_NAMES = {"default": "default", "late_30": "more than 30 days late"}


def _scorers_from_the_last(evaluation: Evaluation) -> list[tuple[int, str]]:
    """Scorers from the last to the first, so that our own line lies on top."""
    return [(i, f"s{i}") for i in reversed(range(len(evaluation.scorers)))]


def _legend(evaluation: Evaluation) -> Markup:
    return legend([Series(scorer.title, f"s{i}", ()) for i, scorer in enumerate(evaluation.scorers)])


def reliability_figure(evaluation: Evaluation) -> Figure:
    y, p = evaluation.table.late[evaluation.rows], evaluation.scorers[0].p[evaluation.rows]
    bins = reliability(y, p, 10 if len(y) < 2_000 else 20)
    plot = Plot((0.0, 1.0), (0.0, 1.0), "Reliability: how often late was said, and how often it came")
    plot.axes("said: probability of being late", "came: share that was late", FIFTHS, FIFTHS)
    plot.parts.append(draw_diagonal(plot))
    counts, edges = np.histogram(p, np.linspace(0, 1, 41))
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        height = 0.16 * count / counts.max()
        plot.bar(float(low), float(high), float(height), "faint", f"{count:,} invoices between {low:.3f} and {high:.3f}")
    _draw_bins(plot, bins)
    own = evaluation.judged[0].all
    ece = 0.0 if own is None else own.ece
    off_bins = sum(not low <= b.mean_forecast <= high for b in bins for low, high in [b.interval()])
    see = (
        f"Dots on the diagonal keep their word: on average the score is {percent(ece)} off (ECE), and {off_bins or 'none'} of "
        f"{len(bins)} dots lie further from it than chance explains (their 95 % intervals are the lines). "
        "Grey: how often each was said."
    )
    return Figure("Said and come true", see, plot.svg(), BIN_HEAD, [bin_line(b) for b in bins])


def _draw_bins(plot: Plot, bins: Sequence[Bin]) -> None:
    for b in bins:
        low, high = b.interval()
        plot.reach((b.mean_forecast, low), (b.mean_forecast, high), "s0")
    for b in bins:
        plot.dot(b.mean_forecast, b.observed, "s0", f"said {b.mean_forecast:.3f}, came {b.observed:.3f}, {b.count:,} invoices")


def advantage_figure(evaluation: Evaluation) -> Figure | None:
    """Difference in log loss and its interval, one line per challenger."""
    if not evaluation.advantages:
        return None
    rows = [(advantage, i + 1) for i, advantage in enumerate(evaluation.advantages)]
    ends = [end for advantage, _ in rows for end in (advantage.log_loss.low, advantage.log_loss.high)]
    plot = Plot(
        range_of([*ends, 0.0]), (0.0, len(rows) + 0.5), "Our log loss less that of each challenger", height=72 + 44 * len(rows)
    )
    plot.axes("difference in log loss: left of zero, duewatch is better", "", y_ticks=[(-9.0, "")])
    plot.rule(x=0.0)
    for advantage, i in rows:
        up = len(rows) - i + 0.5
        plot.reach((advantage.log_loss.low, up), (advantage.log_loss.high, up), f"s{i}")
        plot.dot(advantage.log_loss.value, up, f"s{i}", f"{advantage.scorer.title}: {advantage.log_loss.value:+.4f}", 5)
        x, y = plot.at(plot.x[0], up)
        plot.words(x, y - 9, f"against {advantage.scorer.title}", style="over")
    better = sum(advantage.log_loss.high < 0 for advantage, _ in rows)
    worse = sum(advantage.log_loss.low > 0 for advantage, _ in rows)
    see = (
        f"{comparison(better, worse, len(rows))}; where the line crosses zero it is a tie. "
        "Lines are 95 % intervals of a bootstrap over weeks of issue."
    )
    lines = [
        (
            advantage.scorer.title,
            f"{advantage.log_loss.value:+.4f} [{advantage.log_loss.low:+.4f}, {advantage.log_loss.high:+.4f}]",
            "-" if advantage.auc is None else f"{advantage.auc.value:+.4f} [{advantage.auc.low:+.4f}, {advantage.auc.high:+.4f}]",
        )
        for advantage, _ in rows
    ]
    return Figure("How far ahead", see, plot.svg(), ("duewatch less", "log loss", "AUC"), lines)


def roc_figure(evaluation: Evaluation) -> Figure:
    y = evaluation.table.late[evaluation.rows]
    plot = Plot((0.0, 1.0), (0.0, 1.0), "ROC curves")
    plot.axes("share of the punctual that is called late", "share of the late that is caught", FIFTHS, FIFTHS)
    plot.parts.append(draw_diagonal(plot))
    for i, style in _scorers_from_the_last(evaluation):
        plot.line(roc(y, evaluation.scorers[i].p[evaluation.rows], MAX_POINTS), style, evaluation.scorers[i].title)
    own = evaluation.judged[0]
    auc = "-" if own.auc is None else f"{own.auc.value:.4f} [{own.auc.low:.4f}, {own.auc.high:.4f}]"
    see = (
        f"The further up and to the left, the better late and punctual are told apart: area under our curve {auc}, 0.5 is chance."
    )
    lines = [
        (j.scorer.title, "-" if j.auc is None else f"{j.auc.value:.4f} [{j.auc.low:.4f}, {j.auc.high:.4f}]")
        for j in evaluation.judged
    ]
    return Figure("Ranking", see, _legend(evaluation) + plot.svg(), ("scorer", "AUC [95 %]"), lines)


def precision_recall_figure(evaluation: Evaluation) -> Figure:
    y = evaluation.table.late[evaluation.rows]
    share = float(y.mean())
    plot = Plot((0.0, 1.0), (min(0.9, max(0.0, share - 0.1)) if share > 0.5 else 0.0, 1.0), "Precision and recall")
    up = [(v, f"{100 * v:.0f} %") for v, _ in number_ticks(plot.y)]
    plot.axes("recall: share of the late that is called", "precision: share of calls that come true", FIFTHS, up)
    plot.rule(y=share)
    best_precision = 0.0
    for i, style in _scorers_from_the_last(evaluation):
        points = precision_recall(y, evaluation.scorers[i].p[evaluation.rows], MAX_POINTS)
        plot.line([pt for pt in points if pt[0] > 0.01], style, evaluation.scorers[i].title)
        best_precision = next((precision for recall, precision in points if recall >= 0.5), best_precision)
    see = (
        f"Whoever wants to catch half of the late invoices is right in {percent(best_precision, 0)} of the calls with duewatch; "
        f"calling everything late is right in {percent(share, 0)} (dashed)."
    )
    return Figure("Precision and recall", see, _legend(evaluation) + plot.svg())


def prequential_figure(evaluation: Evaluation) -> Figure:
    """Trailing mean of the log loss over issue order, burn-in included."""
    judged = np.flatnonzero(evaluation.table.late != UNKNOWN)
    y = evaluation.table.late[judged]
    window = max(30, min(ROLLING, len(judged) // 10))
    at = np.unique(np.linspace(window - 1, len(judged) - 1, MAX_POINTS).astype(int))
    curves = []
    for scorer in evaluation.scorers:
        sums = np.concatenate(([0.0], np.cumsum(log_losses(y, scorer.p[judged]))))
        curves.append([(float(judged[i]), float((sums[i + 1] - sums[i + 1 - window]) / window)) for i in at])
    visible = [v for curve in curves for x, v in curve if x >= evaluation.burn_in] or [v for curve in curves for _, v in curve]
    low, high = range_of(visible)
    high += ROOM_FOR_WORDS * (high - low)
    plot = Plot((0.0, float(judged[-1] + 1)), (low, high), "Log loss over the invoices in the order of issue", width=940)
    plot.axes(
        "invoices in the order of issue, by the month",
        f"log loss of the last {window:,}",
        _month_ticks(evaluation.table.issue_days),
    )
    if evaluation.burn_in:
        plot.rule(x=float(evaluation.burn_in))
    for i, style in _scorers_from_the_last(evaluation):
        for run in _runs_within(curves[i], plot.y):
            plot.line(run, style, evaluation.scorers[i].title)
    if evaluation.burn_in:
        x, up = plot.at(float(evaluation.burn_in), high)
        is_near_the_edge = x > plot.width - WORDS_WIDTH
        plot.words(
            x - 5 if is_near_the_edge else x + 5, up + 10, "judged from here", "end" if is_near_the_edge else "start", "over"
        )
    see = "Lower is better. Every forecast was made before its outcome"
    if len(curves) > 1:
        lowest = percent(_share_lowest(curves, evaluation.burn_in), 0)
        see += f"; after the burn-in duewatch was the best of the {len(curves)} in {lowest} of the time"
    see += "."
    if any(not low <= v <= high for curve in curves for _, v in curve):
        see += " Where a line is missing at the start, it lies outside the picture."
    return Figure("While it learned", see, _legend(evaluation) + plot.svg(), wide=True)


def _runs_within(curve: Sequence[Point], span: Point) -> list[list[Point]]:
    """The stretches of a curve that lie in the picture: the rest, drawn at its edge, would look like values.

    >>> _runs_within([(0, 9.0), (1, 2.0), (2, 1.0), (3, 9.0), (4, 1.0)], (0.0, 3.0))
    [[(1, 2.0), (2, 1.0)], [(4, 1.0)]]
    """
    low, high = span
    return [list(run) for is_inside, run in groupby(curve, lambda point: low <= point[1] <= high) if is_inside]


def _month_ticks(issue_days: Ints, first: int = 0) -> list[tuple[float, str]]:
    """The months on an axis of invoices in the order of issue, from the ``first`` on; where few were issued only some of them."""
    room = (len(issue_days) - first) / 16
    ticks: list[tuple[float, str]] = []
    for day, text in date_ticks(int(issue_days[first]), int(issue_days[-1]), 12):
        place = float(np.searchsorted(issue_days, day))
        if not ticks or place - ticks[-1][0] >= room:
            ticks.append((place, text))
    return ticks


def lead_figure(evaluation: Evaluation) -> Figure | None:
    """The sum of the differences in log loss since the burn-in. The late rate, far behind, would hide the others."""
    rivals = [(i, s) for i, s in enumerate(evaluation.scorers) if i and s.name != "late_rate"]
    if not rivals:
        return None
    judged = np.flatnonzero(evaluation.rows)
    y = evaluation.table.late[judged]
    own = log_losses(y, evaluation.scorers[0].p[judged])
    at = np.unique(np.linspace(0, len(judged) - 1, MAX_POINTS).astype(int))
    sums = {i: np.cumsum(log_losses(y, s.p[judged]) - own) for i, s in rivals}
    curves = {i: [(float(judged[k]), float(total[k])) for k in at] for i, total in sums.items()}
    across = (float(judged[0]), float(judged[-1] + 1))
    plot = Plot(across, range_of([0.0, *(v for c in curves.values() for _, v in c)]), "Lead over the challengers", width=940)
    months = _month_ticks(evaluation.table.issue_days, int(judged[0]))
    plot.axes("invoices in the order of issue, by the month", "log loss saved so far", months)
    plot.rule(y=0.0)
    for i, curve in reversed(curves.items()):
        plot.line(curve, f"s{i}", evaluation.scorers[i].title)
    behind = [s.title for i, s in rivals if sums[i][-1] < 0]
    see = (
        "The sum of what duewatch saved in log loss against each challenger: where a line rises duewatch was better, where it "
        "falls "
        + ("worse. " if not behind else f"worse; at the end it is behind {', '.join(behind)}. ")
        + "An even slope is a lasting lead, a jump is luck."
    )
    return Figure(
        "Lead over the challengers", see, legend([Series(s.title, f"s{i}", ()) for i, s in rivals]) + plot.svg(), wide=True
    )


def _share_lowest(curves: Sequence[Sequence[tuple[float, float]]], burn_in: int) -> float:
    values = np.array([[v for x, v in curve if x >= burn_in] for curve in curves])
    return float((values[0] <= values.min(axis=0)).mean()) if values.size else 0.0


def months_figure(evaluation: Evaluation) -> Figure:
    judged = evaluation.table.late != UNKNOWN
    issue_days, y, p = evaluation.table.issue_days[judged], evaluation.table.late[judged], evaluation.table.p_late[judged]
    weeks = issue_days // 28
    observed, forecasts = [], []
    for block in np.unique(weeks):
        part = weeks == block
        observed.append((float(issue_days[part].mean()), float(y[part].mean())))
        forecasts.append((float(issue_days[part].mean()), float(p[part].mean())))
    plot = Plot(
        (float(issue_days[0]), float(issue_days[-1])),
        range_of([v for _, v in observed + forecasts], low=0.0, high=1.0),
        "Late share by time of issue",
    )
    plot.axes(
        "four weeks of issue",
        "share late",
        date_ticks(int(issue_days[0]), int(issue_days[-1])),
        [(v, f"{100 * v:.0f} %") for v, _ in number_ticks(plot.y)],
    )
    plot.line(observed, "truth", "came")
    plot.line(forecasts, "s0", "said")
    gap = float(np.mean([abs(a[1] - b[1]) for a, b in zip(observed, forecasts, strict=True)]))
    see = (
        f"What was said of the invoices of four weeks, and what came of them, lie {percent(gap)} apart on average; early on, "
        "nothing was known yet, and of the last weeks only the invoices that were soon due can be judged."
    )
    return Figure("Over time", see, legend([Series("came", "truth", ()), Series("said", "s0", ())]) + plot.svg())


def target_figure(target: TargetQuality) -> Figure:
    """On logarithmic axes, as most of the probabilities are far below one in a hundred."""
    name = _TARGET_NAMES[target.name]
    lowest = max(MIN_SHARE, min(b.mean_forecast for b in target.bins))
    decades = range(int(np.floor(np.log10(lowest))), 1)
    ticks = [(float(d), f"{100 * 10.0**d:.10g} %") for d in decades]
    ends = (float(decades[0]), 0.0)
    plot = Plot(ends, ends, f"Reliability of the probability of {name}")
    plot.axes(f"said: probability of {name}, logarithmic", "came", ticks, ticks)
    plot.parts.append(draw_diagonal(plot))
    for b in target.bins:
        mean_forecast, observed = _decade(b.mean_forecast), _decade(b.observed)
        low, high = b.interval()
        plot.reach((mean_forecast, _decade(low)), (mean_forecast, _decade(high)), "s0")
        plot.dot(mean_forecast, observed, "s0", f"said {b.mean_forecast:.5f}, came {b.observed:.5f}, {b.count:,} invoices")
    q = target.quality
    mean_forecast = float(np.average([b.mean_forecast for b in target.bins], weights=[b.count for b in target.bins]))
    auc = "cannot be ranked, as all came out alike" if q.auc is None else f"AUC {q.auc:.3f}"
    see = (
        f"Of {q.labels:,} invoices, paid in time or not, {percent(q.positives, 2)} came to this, and "
        f"{percent(mean_forecast, 2)} was said on average; {auc}. Dots on the lower edge: none came."
    )
    return Figure(f"Said and come true: {name}", see, plot.svg(), BIN_HEAD, [bin_line(b) for b in target.bins])


def _decade(share: float) -> float:
    return float(np.log10(max(share, MIN_SHARE)))
