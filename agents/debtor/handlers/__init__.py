"""What an event or a deadline changes first, before the domains decide: a file per topic, and the table of all events."""
