"""How good each scorer is: counts per day, segment and scorer, small enough for a row, from which figures are computed."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

from msgspec import Struct

BINS, PER_LOGIT = 64, 4
"""Bins of log-odds, a quarter wide, from -8 to 8: an AUC of them is that of the scores to about 0.0005."""
ECE_BINS = 20
MIN_P, MAX_P = 1e-6, 1.0 - 1e-6
"""A probability is clipped to these before it is judged: published ones have six decimals."""


class Tally(Struct, array_like=True):
    """Labels of one scorer in one segment on one day. ``bins``: bin -> (labels, positives, sum of the forecasts)."""

    labels: int = 0
    positives: int = 0
    loss: float = 0.0
    brier: float = 0.0
    bins: dict[int, tuple[int, int, float]] = {}

    def add(self, p: float, z: float, loss: float, label: int) -> None:
        """Count a label whose forecast was ``p`` (log-odds ``z``), at a log loss of ``loss``."""
        self.labels += 1
        self.positives += label
        self.loss += loss
        self.brier += (p - label) * (p - label)
        number = min(max(int((z + BINS / 2 / PER_LOGIT) * PER_LOGIT), 0), BINS - 1)
        labels, positives, forecast = self.bins.get(number, (0, 0, 0.0))
        self.bins[number] = (labels + 1, positives + label, forecast + p)

    def copy(self) -> Tally:
        return Tally(self.labels, self.positives, self.loss, self.brier, dict(self.bins))


class Figures(Struct, frozen=True):
    """How good a scorer was over some days. ``auc`` is None when all labels are alike."""

    labels: int
    positives: int
    auc: float | None
    log_loss: float
    brier: float
    ece: float


def figures(tallies: Iterable[Tally]) -> Figures | None:
    """The figures of the tallies together; None where there are no labels.

    >>> tally = Tally(bins={})
    >>> tally.add(0.8, 1.386, 0.223, 1); tally.add(0.2, -1.386, 0.223, 0)
    >>> figures([tally]).auc, figures([tally, tally]).labels
    (1.0, 4)
    """
    whole = merge(tallies)
    if not whole.labels:
        return None
    bins = [whole.bins[number] for number in sorted(whole.bins)]
    return Figures(
        whole.labels,
        whole.positives,
        _area(bins, whole.positives, whole.labels - whole.positives),
        round(whole.loss / whole.labels, 6),
        round(whole.brier / whole.labels, 6),
        _calibration_error(bins, whole.labels),
    )


def merge(tallies: Iterable[Tally]) -> Tally:
    """The sum of the tallies, as one.

    >>> merge([Tally(labels=1, bins={0: (1, 0, 0.1)}), Tally(labels=2, bins={0: (2, 1, 0.3)})]).bins
    {0: (3, 1, 0.4)}
    """
    labels = positives = 0
    loss = brier = 0.0
    counts, hits, forecasts = [0] * BINS, [0] * BINS, [0.0] * BINS
    for tally in tallies:
        labels += tally.labels
        positives += tally.positives
        loss += tally.loss
        brier += tally.brier
        for number, (n, h, p) in tally.bins.items():
            counts[number] += n
            hits[number] += h
            forecasts[number] += p
    bins = {number: (n, hits[number], forecasts[number]) for number, n in enumerate(counts) if n}
    return Tally(labels, positives, loss, brier, bins)


def _area(bins: list[tuple[int, int, float]], positives: int, negatives: int) -> float | None:
    """The AUC by Mann-Whitney over the bins; ties within a bin count half."""
    if not positives or not negatives:
        return None
    wins, negatives_below = 0.0, 0
    for count, hits, _ in bins:
        wins += hits * (negatives_below + (count - hits) / 2.0)
        negatives_below += count - hits
    return round(wins / (positives * negatives), 6)


def _calibration_error(bins: list[tuple[int, int, float]], labels: int) -> float:
    """The ECE over runs of bins of at least a twentieth of the labels; what is left over is a run of its own."""
    error, n, h, s = 0.0, 0, 0, 0.0
    for count, hits, forecast in bins:
        n, h, s = n + count, h + hits, s + forecast
        if n * ECE_BINS >= labels:
            error += abs(s - h)
            n, h, s = 0, 0, 0.0
    return round(min(1.0, (error + abs(s - h)) / labels), 6)


def excess_loss(p: float, loss: float) -> float:
    """How much more a label cost than its own forecast expected: zero on average as long as forecasts come true.

    >>> round(excess_loss(0.5, 1.0), 6)
    0.306853
    """
    p = min(max(p, MIN_P), MAX_P)
    return loss + p * log(p) + (1.0 - p) * log(1.0 - p)
