"""The demo: a simulated portfolio through the whole pipeline, and what was found."""
