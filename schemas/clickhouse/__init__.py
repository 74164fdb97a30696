"""Contracts at rest: numbered migrations, and the rows that they take."""
