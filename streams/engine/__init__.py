"""The engine: slices over the source topics of a partition, each applied in one transaction. README.md says why and how."""
