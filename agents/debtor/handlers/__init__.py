"""What an event or a deadline changes first, before the domains decide."""
