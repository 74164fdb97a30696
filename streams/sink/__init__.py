"""The sink: Kafka to ClickHouse, in batches that may be read twice."""
