"""Kafka as every part uses it: topics, consumers, producers, headers, the codec, and the embedded broker."""
