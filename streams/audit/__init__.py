"""The audit: state against log, ClickHouse against state, ClickHouse against log and fold."""
