"""The nearest other band, what it asks for, and how far off it is."""

from __future__ import annotations

import pytest

from agents.debtor.scoring.counterfactual import counterfactual
from schemas.outputs.scores import Band

THRESHOLDS = (0.6, 0.03, 0.97, 0.15)


@pytest.mark.parametrize(("band", "p_late", "p_default", "nearest", "late", "default", "log_odds"), [
    ("weak", 0.99, 0.01, "medium", 0.97, 0.15, -1.119021),  # too late: below 97 %
    ("weak", 0.50, 0.20, "medium", 0.97, 0.15, 0.0),  # lateness is no obstacle, the default is
    ("medium", 0.71, 0.01, "strong", 0.60, 0.03, -0.489920),
    ("medium", 0.60, 0.01, "strong", 0.60, 0.03, 0.0),
    ("medium", 0.10, 0.05, "strong", 0.60, 0.03, 0.0),
    ("strong", 0.10, 0.01, "medium", 0.60, 0.03, 2.602690),  # what would make it worse
])  # fmt: skip
def test_the_next_better_band_or_for_a_strong_debtor_the_worse_one(
    band: Band, p_late: float, p_default: float, nearest: Band, late: float, default: float, log_odds: float
) -> None:
    change = counterfactual(band, p_late, p_default, THRESHOLDS, ready=True)
    assert (change.band, change.p_late, change.p_default) == (nearest, late, default)
    assert change.log_odds == pytest.approx(log_odds, abs=2e-6)


@pytest.mark.parametrize(("band", "ready", "p_default_floor", "insolvent", "unknown"), [
    ("weak", True, 0.99, True, False), ("weak", True, 0.15, True, False), ("weak", True, 0.1, False, False),
    ("strong", True, 0.99, False, False), ("medium", False, 0.0, False, True), ("weak", False, 0.0, False, False),
])  # fmt: skip
def test_the_text_names_what_no_payment_changes(
    band: Band, ready: bool, p_default_floor: float, insolvent: bool, unknown: bool
) -> None:
    change = counterfactual(band, 0.98, 0.2, THRESHOLDS, ready=ready, p_default_floor=p_default_floor)
    assert ("insolvency notice would have to be withdrawn" in change.text) is insolvent
    assert ("Insolvenzbekanntmachung zurückgenommen" in str(change.text_de)) is insolvent
    assert ("first invoice that has come due" in change.text) is unknown
    assert ("erste fällig gewordene Rechnung" in str(change.text_de)) is unknown


@pytest.mark.parametrize(("band", "english", "german"), [
    ("weak", "below 97 % (now 98 %), of default below 15.0 % (now 20.0 %)", "unter 97 % (jetzt 98 %), eines Ausfalls unter"),
    ("strong", "from 60 % (now 98 %), or of default from 3.0 %", "ab 60 % (jetzt 98 %), oder eines Ausfalls ab 3,0 %"),
])  # fmt: skip
def test_a_better_band_needs_both_and_a_worse_one_either(band: Band, english: str, german: str) -> None:
    change = counterfactual(band, 0.98, 0.2, THRESHOLDS, ready=True)
    assert english in change.text and german in str(change.text_de)
