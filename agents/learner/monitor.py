"""The watch over the model: champion and challengers judged on every label before they learn it, drift, who is in force. Pure.

What is kept: the tallies of the last ``guard.WINDOW_DAYS`` days, a row each, and the numbers of river's challenger and detector.
Nothing depends on where slices end: figures go out when the first label of a later day comes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cached_property
from math import log
from typing import Literal

import msgspec
from msgspec import Struct

from agents.learner.fallback import WINDOW_DAYS, Day, Guard, judged
from agents.learner.river_models import Challenger, Drift, LiveChallenger, LiveDrift
from agents.learner.state import Shared
from agents.learner.tallies import LEAST, MOST, Figures, Tally, figures, merged, surprise
from agents.score_model import ALL_LABELS, ALL_LATE, NO_FEATURES, UNIT, fitted, logit, share_of_cells, sigmoid
from agents.version import CODE_VERSION
from schemas.base import Contract
from schemas.events.models import ExampleMatured
from schemas.outputs.quality import ModelAlerted, ModelMeasured, QualityScorer

WATCH_ROW, TALLIES = "watch", "quality/"
"""Key of the row of the numbers; prefix of the rows of tallies (by day)."""
COLD_LABELS = 5
RATE_LABELS = 5.0
"""Pseudo-labels of all debtors' rate within the debtor's own, as in the score that takes over."""
MOST_GROUPS = 12
"""Groups that are measured by themselves: the first that have labels."""
SCORERS: tuple[QualityScorer, ...] = ("published", "hedge", "cells", "state", "late_rate", "river")

Forecast = Callable[[Shared, ExampleMatured], tuple[float, float]]
"""The log-odds that cells and state model give an example (``decide.forecasts``)."""
Said = tuple[float, ...]
"""Log-odds, in the order of ``SCORERS``."""


class Numbers(Struct, frozen=True, omit_defaults=True):
    """``newest``: the last day (ordinal) of which a label came; ``open``: days whose figures have not gone out.

    ``said``: messages so far; their numbers are their ids, for a day that a late label opens again is measured again.
    """

    challenger: Challenger = Challenger()
    drift: Drift = Drift()
    guard: Guard = Guard()
    groups: tuple[str, ...] = ()
    newest: int = 0
    open: tuple[int, ...] = ()
    said: int = 0


Tallies = dict[str, Tally]
"""``segment|scorer`` -> tally. ``all`` is not kept: it is cold and warm together."""


class Watched(Struct):
    """As committed. A ``Watch`` works on a copy."""

    numbers: Numbers = Numbers()
    days: dict[int, Tallies] = {}

    def copy(self) -> Watched:
        """Days are replaced when they change, so their tallies may be shared."""
        return Watched(self.numbers, dict(self.days))


def is_watch_row(key: str) -> bool:
    return key == WATCH_ROW or key.startswith(TALLIES)


def restore(watched: Watched, key: str, value: bytes | None) -> None:
    """Take a row over. Raises ValueError when it cannot be read."""
    if key == WATCH_ROW:
        watched.numbers = Numbers() if value is None else msgspec.json.decode(value, type=Numbers)
        return
    day = int(key.removeprefix(TALLIES))
    watched.days.pop(day, None)
    if value is not None:
        watched.days[day] = msgspec.json.decode(value, type=Tallies)


class Watch:
    """Looks over the learner's shoulder for one fold: ``see`` every example before it is learned, then take ``rows``."""

    def __init__(self, watched: Watched) -> None:
        self.outputs: list[Contract] = []
        """What is to go to ``model-quality``, in order."""
        self._watched = watched
        n = watched.numbers
        self._first = n.said
        self._guard, self._groups, self._newest, self._open = n.guard, list(n.groups), n.newest, set(n.open)
        self._touched: set[int] = set()
        self._seen = False

    @cached_property
    def _challenger(self) -> LiveChallenger:
        """Made when it is first asked: river takes a second to load."""
        return LiveChallenger(self._watched.numbers.challenger)

    @cached_property
    def _drift(self) -> LiveDrift:
        return LiveDrift(self._watched.numbers.drift)

    def see(self, model: Shared, example: ExampleMatured, forecast: Forecast) -> None:
        """Judge a first label. May change ``model.scorer``."""
        if example.target != "late" or example.corrects is not None or not example.x or example.p is None:
            return
        self._seen = True
        day = example.matured_on.toordinal()
        if day > self._newest:
            self._close(model)
            self._begin(day)
        cells, state = forecast(model, example)
        share = share_of_cells(model.hedge)
        features = tuple(v / UNIT for v in fitted(example.x, NO_FEATURES))
        said = (
            _logit(example.p),
            share * cells + (1.0 - share) * state,
            cells,
            state,
            _late_rate(model, example),
            _logit(self._challenger.say_and_learn(features, example.label)),
        )
        self._count(day, example, said)
        if self._drift.update(surprise(example.p, _loss(said[0], example.label))):
            self._alert(model, "drift", example.matured_on)

    def _begin(self, day: int) -> None:
        self._newest = day
        if not self._guard.since:
            self._guard = Guard(self._guard.in_force, day)
        for old in [d for d in self._watched.days if d <= day - WINDOW_DAYS]:
            del self._watched.days[old]
            self._touched.add(old)
            self._open.discard(old)

    def _count(self, day: int, example: ExampleMatured, said: Said) -> None:
        if day <= self._newest - WINDOW_DAYS:
            return  # too late to be in any figure
        if day not in self._touched:
            self._watched.days[day] = {key: tally.copy() for key, tally in self._watched.days.get(day, {}).items()}
            self._touched.add(day)
        self._open.add(day)
        tallies = self._watched.days[day]
        segment = "cold" if example.row_labels < COLD_LABELS else "warm"
        for scorer, z in zip(SCORERS, said, strict=True):
            _tally(tallies, f"{segment}|{scorer}").add(sigmoid(z), z, _loss(z, example.label), example.label)
        group = self._group(example)
        if group is not None:
            z = said[0]
            _tally(tallies, f"group:{group}|published").add(sigmoid(z), z, _loss(z, example.label), example.label)

    def _group(self, example: ExampleMatured) -> str | None:
        key = next((key for key in example.keys if key.startswith("gw:")), "")
        group = key[3:].rpartition(":")[0]
        if group in ("", "-"):
            return None
        if group not in self._groups:
            if len(self._groups) >= MOST_GROUPS:
                return None
            self._groups.append(group)
        return group

    def _close(self, model: Shared) -> None:
        """The days that are over: their figures go out, and the guard looks at the last of them."""
        for day in sorted(self._open):
            self._measure(model, day)
        if self._open:
            self._judge(model, max(self._open))
        self._open.clear()

    def _window(self, day: int) -> list[Tallies]:
        return [self._watched.days[d] for d in sorted(self._watched.days) if day - WINDOW_DAYS < d <= day]

    def _measure(self, model: Shared, day: int) -> None:
        window = self._window(day)
        of_the_day = self._watched.days[day]
        segments = [s for s in ("cold", "warm") if f"{s}|published" in of_the_day]
        for scorer in SCORERS:
            of = {s: merged([t[k] for t in window if (k := f"{s}|{scorer}") in t]) for s in ("cold", "warm")}
            self._measured(model, day, "all", scorer, list(of.values()))
            for segment in segments:
                self._measured(model, day, segment, scorer, [of[segment]])
        for group in self._groups:
            key = f"group:{group}|published"
            if key in of_the_day:
                self._measured(model, day, f"group:{group}", "published", [t[key] for t in window if key in t])

    def _measured(self, model: Shared, day: int, segment: str, scorer: QualityScorer, tallies: list[Tally]) -> None:
        found = figures(tallies)
        if found is not None:
            self.outputs.append(_report(model, self._guard, date.fromordinal(day), segment, scorer, found))

    def _judge(self, model: Shared, day: int) -> None:
        window = self._window(day)
        after = judged(self._guard, day, [_day(tallies) for tallies in window])
        if after is not self._guard:
            self._guard = after
            self._alert(model, "fallback" if after.in_force == "late_rate" else "recovered", date.fromordinal(day))
        model.scorer = self._guard.in_force

    def _alert(self, model: Shared, kind: Literal["drift", "fallback", "recovered"], day: date) -> None:
        window = [_day(tallies) for tallies in self._window(day.toordinal())]
        labels = sum(d.labels for d in window)
        text, action = _WORDS[kind]
        self.outputs.append(
            ModelAlerted(
                alert_type=kind,
                target="late",
                in_force=self._guard.in_force,
                day=day,
                window_days=WINDOW_DAYS,
                labels=labels,
                log_loss=round(sum(d.learned for d in window) / labels, 6) if labels else None,
                late_rate_log_loss=round(sum(d.late_rate for d in window) / labels, 6) if labels else None,
                text=text,
                recommended_action=action,
                model_version=model.version,
                code_version=CODE_VERSION,
            )
        )

    @property
    def first(self) -> int:
        """The number of the first of ``outputs``."""
        return self._first

    def rows(self) -> dict[str, bytes | None]:
        """The changed rows; the copy that the watch worked on holds the same from here on. Call it once."""
        if not self._seen:
            return {}
        self._watched.numbers = Numbers(
            self._challenger.numbers(),
            self._drift.numbers(),
            self._guard,
            tuple(self._groups),
            self._newest,
            tuple(sorted(self._open)),
            self._watched.numbers.said + len(self.outputs),
        )
        rows: dict[str, bytes | None] = {WATCH_ROW: msgspec.json.encode(self._watched.numbers)}
        for day in sorted(self._touched):
            tallies = self._watched.days.get(day)
            rows[f"{TALLIES}{day}"] = None if tallies is None else msgspec.json.encode(tallies)
        return rows


_WORDS = {
    "drift": (
        "The published scores have become wrong more often than they say: something that the model has not seen has changed",
        "Look in model_quality where the log loss rose, and what changed in the book: terms, customers, records",
    ),
    "fallback": (
        "For four weeks the learned model was worse than the debtors' plain late rate, which scores from here on by itself",
        "Look in model_quality for what it was wrong about; it goes on learning, and takes over again when it has been better",
    ),
    "recovered": (
        "For four weeks the learned model was better than the debtors' plain late rate, and scores again from here on",
        "Nothing needs to be done; what had made it fall back is worth knowing",
    ),
}
"""Kind of alert -> what happened, and what to do."""


def _report(model: Shared, guard: Guard, day: date, segment: str, scorer: QualityScorer, found: Figures) -> ModelMeasured:
    return ModelMeasured(
        target="late",
        segment=segment,
        scorer=scorer,
        in_force=guard.in_force,
        day=day,
        window_days=WINDOW_DAYS,
        labels=found.labels,
        positives=found.positives,
        auc=found.auc,
        log_loss=found.log_loss,
        brier=found.brier,
        ece=found.ece,
        model_version=model.version,
        code_version=CODE_VERSION,
    )


def _day(tallies: Tallies) -> Day:
    learned = [tallies[k] for k in ("cold|hedge", "warm|hedge") if k in tallies]
    rate = [tallies[k] for k in ("cold|late_rate", "warm|late_rate") if k in tallies]
    return Day(sum(t.labels for t in learned), sum(t.loss for t in learned), sum(t.loss for t in rate))


def _tally(tallies: Tallies, key: str) -> Tally:
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = Tally(bins={})
    return tally


def _late_rate(model: Shared, example: ExampleMatured) -> float:
    late, labels = model.rates.get("all") or (ALL_LATE, ALL_LABELS)
    rate = (example.row_late + RATE_LABELS * late / labels) / (example.row_labels + RATE_LABELS)
    return logit(min(max(rate, 0.002), 0.998))


def _logit(p: float) -> float:
    return logit(min(max(p, LEAST), MOST))


def _loss(z: float, label: int) -> float:
    return -log(sigmoid(z if label else -z))
