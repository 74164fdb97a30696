"""A backtest: the decisions without Kafka, and how good the scores were beside others."""
