"""What registers publish about a debtor, rightly and wrongly."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from streams.simulate.days import iso, next_open
from streams.simulate.profiles import Profile
from streams.simulate.recorder import EventRecorder

MISTAKEN_A_YEAR = 0.015
"""Notices a year about somebody with a similar name."""
DISMISSED_A_YEAR = 0.004
"""Petitions a year against a sound debtor, which the court dismisses."""
PUBLIC_PETITION_SHARE = 0.35
"""Share of filings that become public before the court orders preliminary measures."""
REFUSED_SHARE = 0.3
"""Share of proceedings that are refused for lack of assets."""
KINDS = {
    "petition": "Eröffnungsantrag",
    "preliminary": "Sicherungsmaßnahmen",
    "opened": "Eröffnung",
    "refused": "Abweisung mangels Masse",
    "dismissed": "Abweisung des Antrags",
    "cancelled": "Aufhebung der Sicherungsmaßnahmen",
    "closed": "Einstellung",
    "solvent_winding_up": "Auflösung der Gesellschaft",
}
COURTS = ("Hamburg", "Köln", "München", "Leipzig", "Stuttgart", "Bremen")


class Proceedings(NamedTuple):
    """What becomes known of a real insolvency; days are ordinals."""

    known_on: int | None
    """The first notice that certainly concerns the debtor."""
    opened_on: int | None
    """Opened, or refused for lack of assets."""


class _Register:
    """Publishes notices about one debtor."""

    def __init__(self, recorder: EventRecorder, rng: Random) -> None:
        self._recorder = recorder
        self._court = f"Amtsgericht {rng.choice(COURTS)}"

    def publish(self, stage: str, day: int, *, score: float = 1.0, corrects: str | None = None, reason: str | None = None) -> str:
        day = next_open(day)
        evidence = ["register number"] if score == 1.0 else ["similar name", "same city"]
        more: dict[str, Any] = {"corrects": corrects} if corrects else {}
        notice_id = self._recorder.new_id("N")
        self._recorder.record(
            "insolvency.matched",
            day,
            12,
            punctual=True,
            notice_id=notice_id,
            register="insolvenzbekanntmachungen",
            court=self._court,
            kind=KINDS[stage],
            stage=stage,
            stage_reason=reason,
            match="certain" if score == 1.0 else "possible",
            match_score=score,
            match_evidence=evidence,
            decided_on=iso(day - 1),
            published_on=iso(day),
            **more,
        )
        return notice_id


def publish_fate(profile: Profile, recorder: EventRecorder, rng: Random) -> Proceedings:
    """Publish the notices of a real insolvency or winding-up."""
    filed_on = profile.fate.filed
    if filed_on is None:
        return Proceedings(None, None)
    register = _Register(recorder, rng)
    if profile.fate.kind == "winds_up":
        register.publish("solvent_winding_up", filed_on)
        return Proceedings(None, None)
    known_on = None
    if rng.random() < PUBLIC_PETITION_SHARE:
        known_on = filed_on + rng.randint(1, 4)
        register.publish("petition", known_on)
    measures = filed_on + rng.randint(5, 20)
    if rng.random() < 0.15:
        register.publish("preliminary", measures, score=round(rng.uniform(0.7, 0.9), 2))  # certain only a few days later
        measures += rng.randint(2, 9)
    notice_id = register.publish("preliminary", measures)
    known_on = min(known_on or measures, measures)
    if rng.random() < 0.1:
        register.publish("preliminary", measures + rng.randint(1, 6), corrects=notice_id)
    decided = filed_on + rng.randint(35, 90)
    if rng.random() < REFUSED_SHARE:
        register.publish("refused", decided, reason="lack of assets")
    else:
        register.publish("opened", decided)
        if rng.random() < 0.1:
            register.publish("closed", decided + rng.randint(60, 200))
    return Proceedings(next_open(known_on), next_open(decided))


def publish_noise(profile: Profile, recorder: EventRecorder, rng: Random) -> list[str]:
    """Publish notices that mean nothing for this debtor; returns what they were."""
    span = profile.ends - profile.begins
    if span < 30:
        return []
    years, notices = span / 365, []
    if rng.random() < MISTAKEN_A_YEAR * years:
        register, day = _Register(recorder, rng), profile.begins + rng.randrange(20, span)
        register.publish(rng.choice(("preliminary", "opened")), day, score=round(rng.uniform(0.5, 0.8), 2))
        notices.append("possible match of somebody else")
    if profile.fate.filed is None and rng.random() < DISMISSED_A_YEAR * years:
        register, day = _Register(recorder, rng), profile.begins + rng.randrange(20, span)
        first = register.publish("petition", day)
        if rng.random() < 0.6:
            register.publish("dismissed", day + rng.randint(10, 30))
            notices.append("petition, dismissed")
        else:
            register.publish("cancelled", day + rng.randint(2, 10), corrects=first, reason="published by mistake")
            notices.append("petition, published by mistake")
    return notices
