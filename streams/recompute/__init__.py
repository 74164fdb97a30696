"""Recompute decisions: from the log, or from what a replay left in ClickHouse."""
