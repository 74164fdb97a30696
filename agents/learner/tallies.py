"""How good is each scorer? Counts per day, segment and scorer, small enough for a row, that figures can be made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

from msgspec import Struct

BINS, PER_LOGIT = 64, 4
"""Bins of log-odds, a quarter wide, from -8 to 8: an AUC of them is that of the scores to about 0.0005."""
ECE_BINS = 20
LEAST, MOST = 1e-6, 1.0 - 1e-6
"""A probability is judged as at least and at most this: published ones have six decimals."""


class Tally(Struct, array_like=True):
    """Labels of one scorer in one segment on one day. ``bins``: bin -> (labels, positives, sum of what was said)."""

    labels: int = 0
    positives: int = 0
    loss: float = 0.0
    brier: float = 0.0
    bins: dict[int, tuple[int, int, float]] = {}

    def add(self, p: float, z: float, loss: float, label: int) -> None:
        """One label, of which ``p`` was said, log-odds ``z``, at a log loss of ``loss``."""
        self.labels += 1
        self.positives += label
        self.loss += loss
        self.brier += (p - label) * (p - label)
        at = min(max(int((z + BINS / 2 / PER_LOGIT) * PER_LOGIT), 0), BINS - 1)
        count, hits, said = self.bins.get(at, (0, 0, 0.0))
        self.bins[at] = (count + 1, hits + label, said + p)

    def copy(self) -> Tally:
        return Tally(self.labels, self.positives, self.loss, self.brier, dict(self.bins))


class Figures(Struct, frozen=True):
    """Of a scorer over some days. ``auc`` is None when all labels are alike."""

    labels: int
    positives: int
    auc: float | None
    log_loss: float
    brier: float
    ece: float


def figures(tallies: Iterable[Tally]) -> Figures | None:
    """Of the tallies together, None of nothing.

    >>> tally = Tally(bins={})
    >>> tally.add(0.8, 1.386, 0.223, 1); tally.add(0.2, -1.386, 0.223, 0)
    >>> figures([tally]).auc, figures([tally, tally]).labels
    (1.0, 4)
    """
    whole = merged(tallies)
    if not whole.labels:
        return None
    ordered = [whole.bins[at] for at in sorted(whole.bins)]
    return Figures(
        whole.labels,
        whole.positives,
        _area(ordered, whole.positives, whole.labels - whole.positives),
        round(whole.loss / whole.labels, 6),
        round(whole.brier / whole.labels, 6),
        _calibration_error(ordered, whole.labels),
    )


def merged(tallies: Iterable[Tally]) -> Tally:
    """One tally of them all."""
    labels = positives = 0
    loss = brier = 0.0
    counts, hits, said = [0] * BINS, [0] * BINS, [0.0] * BINS
    for tally in tallies:
        labels += tally.labels
        positives += tally.positives
        loss += tally.loss
        brier += tally.brier
        for at, (n, h, p) in tally.bins.items():
            counts[at] += n
            hits[at] += h
            said[at] += p
    return Tally(labels, positives, loss, brier, {at: (n, hits[at], said[at]) for at, n in enumerate(counts) if n})


def _area(bins: list[tuple[int, int, float]], positives: int, negatives: int) -> float | None:
    """Mann-Whitney over the bins, ties within one counting half."""
    if not positives or not negatives:
        return None
    won, below = 0.0, 0
    for count, hits, _ in bins:
        won += hits * (below + (count - hits) / 2.0)
        below += count - hits
    return round(won / (positives * negatives), 6)


def _calibration_error(bins: list[tuple[int, int, float]], labels: int) -> float:
    """Over runs of bins of at least a twentieth of the labels; what is left over joins none."""
    error, n, h, s = 0.0, 0, 0, 0.0
    for count, hits, said in bins:
        n, h, s = n + count, h + hits, s + said
        if n * ECE_BINS >= labels:
            error += abs(s - h)
            n, h, s = 0, 0, 0.0
    return round(min(1.0, (error + abs(s - h)) / labels), 6)


def surprise(p: float, loss: float) -> float:
    """How much more a label cost than its own forecast expected: zero on average as long as what is said comes true.

    >>> round(surprise(0.5, 1.0), 6)
    0.306853
    """
    p = min(max(p, LEAST), MOST)
    return loss + p * log(p) + (1.0 - p) * log(1.0 - p)
