"""A replay: files through the real pipeline, on a clock of their own."""
