"""Alerts: raised once, cleared when the cause is gone."""
