"""Ledgers as CSV, read with a mapping."""
