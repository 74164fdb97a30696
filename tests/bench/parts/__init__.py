"""The parts of the bench: each has ``measure(folder)``, runs in a process of its own, and returns what it measured."""
