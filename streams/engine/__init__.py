"""The engine: slices over the source topics of a partition, each applied in one transaction (D3, D4, D5)."""
