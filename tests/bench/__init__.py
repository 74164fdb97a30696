"""How fast: react alone, the pipeline on Apache Kafka, two peers, the ceiling, restore, sink, latency. See `make bench`."""
