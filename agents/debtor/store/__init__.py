"""How a partition's rows lie in memory between slices."""
