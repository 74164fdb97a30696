"""The clock: what a tick carries, and the timer that asks for it."""
