"""The monitor of the model: champion and challengers judged on every label before they learn it, drift, the fallback.

It remembers the tallies of the last ``fallback.WINDOW_DAYS`` days, a row each, and the numbers of river's challenger and
detector. Nothing depends on where slices end: figures go out when the first label of a later day comes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cached_property
from math import log
from typing import Literal

import msgspec
from msgspec import Struct

from agents.learner.fallback import WINDOW_DAYS, DayLosses, Guard, judge
from agents.learner.river_models import Challenger, Drift, LiveChallenger, LiveDrift
from agents.learner.state import SharedModel
from agents.learner.tallies import MAX_P, MIN_P, Figures, Tally, excess_loss, figures, merge
from agents.score_model import ALL_LABELS, ALL_LATE, NO_FEATURES, UNIT, align_features, logit, share_of_cells, sigmoid
from agents.version import CODE_VERSION
from schemas.base import Contract
from schemas.events.models import ExampleMatured
from schemas.outputs.quality import ModelAlerted, ModelMeasured, QualityScorer

MONITOR_ROW, TALLIES = "watch", "quality/"
"""Key of the row of the numbers; prefix of the rows of tallies (by day)."""
COLD_LABELS = 5
RATE_LABELS = 5.0
"""What the rate of all debtors is worth in labels of the debtor's own, as in the score that takes over."""
MAX_GROUPS = 12
"""Groups that are measured by themselves: the first that have labels."""
SCORERS: tuple[QualityScorer, ...] = ("published", "hedge", "cells", "state", "late_rate", "river")

Forecast = Callable[[SharedModel, ExampleMatured], tuple[float, float]]
"""The log-odds that cells and state model give an example (``decide.forecasts``)."""
Forecasts = tuple[float, ...]
"""The log-odds that each scorer gave, in the order of ``SCORERS``."""


class MonitorNumbers(
    Struct, frozen=True, omit_defaults=True, rename={"newest_day": "newest", "open_days": "open", "messages": "said"}
):
    """The row ``MONITOR_ROW``: everything but the tallies.

    ``newest_day``: the last day (ordinal) of which a label came; ``open_days``: those whose figures have not gone out.
    ``messages``: so many so far; their numbers are their ids, for a day that a late label opens again is measured again.
    """

    challenger: Challenger = Challenger()
    drift: Drift = Drift()
    guard: Guard = Guard()
    groups: tuple[str, ...] = ()
    newest_day: int = 0
    open_days: tuple[int, ...] = ()
    messages: int = 0


Tallies = dict[str, Tally]
"""``segment|scorer`` -> tally. ``all`` is not kept: it is cold and warm together."""


class MonitorState(Struct):
    """What the monitor remembers, as committed. A ``QualityMonitor`` works on a copy."""

    numbers: MonitorNumbers = MonitorNumbers()
    days: dict[int, Tallies] = {}

    def copy(self) -> MonitorState:
        """Days are replaced when they change, so their tallies may be shared."""
        return MonitorState(self.numbers, dict(self.days))


def is_monitor_row(key: str) -> bool:
    return key == MONITOR_ROW or key.startswith(TALLIES)


def restore_row(state: MonitorState, key: str, value: bytes | None) -> None:
    """Take a row over. Raises ValueError when it cannot be read."""
    if key == MONITOR_ROW:
        state.numbers = MonitorNumbers() if value is None else msgspec.json.decode(value, type=MonitorNumbers)
        return
    day = int(key.removeprefix(TALLIES))
    state.days.pop(day, None)
    if value is not None:
        state.days[day] = msgspec.json.decode(value, type=Tallies)


class QualityMonitor:
    """Judges the examples of one fold: give every one to ``observe`` before it is learned, then take ``rows``."""

    def __init__(self, state: MonitorState) -> None:
        self.outputs: list[Contract] = []
        """What is to go to ``model-quality``, in order."""
        self._state = state
        n = state.numbers
        self._first_number = n.messages
        self._guard, self._groups, self._newest_day, self._open_days = n.guard, list(n.groups), n.newest_day, set(n.open_days)
        self._changed_days: set[int] = set()
        self._has_labels = False

    @cached_property
    def _challenger(self) -> LiveChallenger:
        """Built when it is first needed: river takes a second to load."""
        return LiveChallenger(self._state.numbers.challenger)

    @cached_property
    def _drift(self) -> LiveDrift:
        return LiveDrift(self._state.numbers.drift)

    def observe(self, model: SharedModel, example: ExampleMatured, forecast: Forecast) -> None:
        """Judge a first label. May change ``model.scorer``."""
        if example.target != "late" or example.corrects is not None or not example.x or example.p is None:
            return
        self._has_labels = True
        day = example.matured_on.toordinal()
        if day > self._newest_day:
            self._close_days(model)
            self._begin_day(day)
        z_cells, z_state = forecast(model, example)
        share = share_of_cells(model.hedge)
        features = tuple(v / UNIT for v in align_features(example.x, NO_FEATURES))
        forecasts = (
            _logit(example.p),
            share * z_cells + (1.0 - share) * z_state,
            z_cells,
            z_state,
            _late_rate(model, example),
            _logit(self._challenger.predict_and_learn(features, example.label)),
        )
        self._count(day, example, forecasts)
        if self._drift.update(excess_loss(example.p, _loss(forecasts[0], example.label))):
            self._alert(model, "drift", example.matured_on)

    def _begin_day(self, day: int) -> None:
        self._newest_day = day
        if not self._guard.since:
            self._guard = Guard(self._guard.in_force, day)
        for old_day in [d for d in self._state.days if d <= day - WINDOW_DAYS]:
            del self._state.days[old_day]
            self._changed_days.add(old_day)
            self._open_days.discard(old_day)

    def _count(self, day: int, example: ExampleMatured, forecasts: Forecasts) -> None:
        if day <= self._newest_day - WINDOW_DAYS:
            return  # too late to be in any figure
        if day not in self._changed_days:
            self._state.days[day] = {key: tally.copy() for key, tally in self._state.days.get(day, {}).items()}
            self._changed_days.add(day)
        self._open_days.add(day)
        tallies = self._state.days[day]
        segment = "cold" if example.row_labels < COLD_LABELS else "warm"
        for scorer, z in zip(SCORERS, forecasts, strict=True):
            _tally(tallies, f"{segment}|{scorer}").add(sigmoid(z), z, _loss(z, example.label), example.label)
        group = self._group(example)
        if group is not None:
            z = forecasts[0]
            _tally(tallies, f"group:{group}|published").add(sigmoid(z), z, _loss(z, example.label), example.label)

    def _group(self, example: ExampleMatured) -> str | None:
        key = next((key for key in example.keys if key.startswith("gw:")), "")
        group = key[3:].rpartition(":")[0]
        if group in ("", "-"):
            return None
        if group not in self._groups:
            if len(self._groups) >= MAX_GROUPS:
                return None
            self._groups.append(group)
        return group

    def _close_days(self, model: SharedModel) -> None:
        """The days that are over: their figures go out, and the guard looks at the last of them."""
        for day in sorted(self._open_days):
            self._measure(model, day)
        if self._open_days:
            self._judge(model, max(self._open_days))
        self._open_days.clear()

    def _window(self, day: int) -> list[Tallies]:
        return [self._state.days[d] for d in sorted(self._state.days) if day - WINDOW_DAYS < d <= day]

    def _measure(self, model: SharedModel, day: int) -> None:
        window = self._window(day)
        tallies_of_day = self._state.days[day]
        segments = [s for s in ("cold", "warm") if f"{s}|published" in tallies_of_day]
        for scorer in SCORERS:
            tallies = {s: merge([t[k] for t in window if (k := f"{s}|{scorer}") in t]) for s in ("cold", "warm")}
            self._report(model, day, "all", scorer, list(tallies.values()))
            for segment in segments:
                self._report(model, day, segment, scorer, [tallies[segment]])
        for group in self._groups:
            key = f"group:{group}|published"
            if key in tallies_of_day:
                self._report(model, day, f"group:{group}", "published", [t[key] for t in window if key in t])

    def _report(self, model: SharedModel, day: int, segment: str, scorer: QualityScorer, tallies: list[Tally]) -> None:
        quality = figures(tallies)
        if quality is not None:
            self.outputs.append(_measurement(model, self._guard, date.fromordinal(day), segment, scorer, quality))

    def _judge(self, model: SharedModel, day: int) -> None:
        window = self._window(day)
        guard = judge(self._guard, day, [_day_losses(tallies) for tallies in window])
        if guard is not self._guard:
            self._guard = guard
            self._alert(model, "fallback" if guard.in_force == "late_rate" else "recovered", date.fromordinal(day))
        model.scorer = self._guard.in_force

    def _alert(self, model: SharedModel, kind: Literal["drift", "fallback", "recovered"], day: date) -> None:
        window = [_day_losses(tallies) for tallies in self._window(day.toordinal())]
        labels = sum(d.labels for d in window)
        text, action = _TEXTS[kind]
        self.outputs.append(
            ModelAlerted(
                alert_type=kind,
                target="late",
                in_force=self._guard.in_force,
                day=day,
                window_days=WINDOW_DAYS,
                labels=labels,
                log_loss=round(sum(d.model for d in window) / labels, 6) if labels else None,
                late_rate_log_loss=round(sum(d.late_rate for d in window) / labels, 6) if labels else None,
                text=text,
                recommended_action=action,
                model_version=model.version,
                code_version=CODE_VERSION,
            )
        )

    @property
    def first_number(self) -> int:
        """The number of the first message in ``outputs``."""
        return self._first_number

    def rows(self) -> dict[str, bytes | None]:
        """The changed rows; the state that the monitor works on holds the same from here on. Call it once."""
        if not self._has_labels:
            return {}
        self._state.numbers = MonitorNumbers(
            self._challenger.numbers(),
            self._drift.numbers(),
            self._guard,
            tuple(self._groups),
            self._newest_day,
            tuple(sorted(self._open_days)),
            self._state.numbers.messages + len(self.outputs),
        )
        rows: dict[str, bytes | None] = {MONITOR_ROW: msgspec.json.encode(self._state.numbers)}
        for day in sorted(self._changed_days):
            tallies = self._state.days.get(day)
            rows[f"{TALLIES}{day}"] = None if tallies is None else msgspec.json.encode(tallies)
        return rows


_TEXTS = {
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


def _measurement(
    model: SharedModel, guard: Guard, day: date, segment: str, scorer: QualityScorer, quality: Figures
) -> ModelMeasured:
    return ModelMeasured(
        target="late",
        segment=segment,
        scorer=scorer,
        in_force=guard.in_force,
        day=day,
        window_days=WINDOW_DAYS,
        labels=quality.labels,
        positives=quality.positives,
        auc=quality.auc,
        log_loss=quality.log_loss,
        brier=quality.brier,
        ece=quality.ece,
        model_version=model.version,
        code_version=CODE_VERSION,
    )


def _day_losses(tallies: Tallies) -> DayLosses:
    model = [tallies[k] for k in ("cold|hedge", "warm|hedge") if k in tallies]
    rate = [tallies[k] for k in ("cold|late_rate", "warm|late_rate") if k in tallies]
    return DayLosses(sum(t.labels for t in model), sum(t.loss for t in model), sum(t.loss for t in rate))


def _tally(tallies: Tallies, key: str) -> Tally:
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = Tally(bins={})
    return tally


def _late_rate(model: SharedModel, example: ExampleMatured) -> float:
    late, labels = model.rates.get("all") or (ALL_LATE, ALL_LABELS)
    rate = (example.row_late + RATE_LABELS * late / labels) / (example.row_labels + RATE_LABELS)
    return logit(min(max(rate, 0.002), 0.998))


def _logit(p: float) -> float:
    return logit(min(max(p, MIN_P), MAX_P))


def _loss(z: float, label: int) -> float:
    return -log(sigmoid(z if label else -z))
