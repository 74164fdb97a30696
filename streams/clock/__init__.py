"""The clock: time becomes an event, written by one leader."""
