"""How it runs: a folder per part of the running system, on the ground of settings, errors, logs and metrics."""

from __future__ import annotations

from pathlib import Path

DEFAULT_DATA = Path("duewatch-data")
"""The folder where none is named; here because commands that answer at once must not load the settings for it."""
