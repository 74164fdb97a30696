-- What came in, and what could not be applied. A statement ends with a semicolon at the end of a line.

-- Inbound records as they came. `hash` is of the value's bytes; `record` names exactly this record (topic, partition, key,
-- CloudEvents headers, bytes) and is equal when the same record is read again, even from another broker at another offset.
CREATE TABLE IF NOT EXISTS {database}.events_raw (
    topic LowCardinality(String), partition UInt32, offset UInt64,
    id String, hash UInt64, record UInt64,
    type LowCardinality(String), time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    customer_id String, key String, data String CODEC(ZSTD(1)),
    source LowCardinality(String), subject String, correlation_id String, causation_id String
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (id, hash, record);

CREATE TABLE IF NOT EXISTS {database}.dead_letters_raw (
    id String, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    topic LowCardinality(String), partition UInt32, offset UInt64,
    reason String, field Nullable(String), raw String CODEC(ZSTD(1)), key Nullable(String),
    headers Array(Tuple(String, String)), recorded_at Nullable(DateTime64(6, 'UTC')), code_version LowCardinality(String),
    event_id String, hash UInt64, record UInt64
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY id;

CREATE VIEW IF NOT EXISTS {database}.dead_letters AS
SELECT id, time, recorded_time, topic, partition, offset, reason, field, raw, key, headers, recorded_at, code_version,
       event_id, hash, record
FROM {database}.dead_letters_raw FINAL;

-- A record that is a dead letter says nothing; another with the same id, or even the same id and bytes, still does.
CREATE VIEW IF NOT EXISTS {database}.events AS
SELECT topic, partition, offset, id, type, time, recorded_time, customer_id, data, key, source, subject,
       correlation_id, causation_id, hash, record
FROM {database}.events_raw FINAL
WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
ORDER BY id, hash, recorded_time
LIMIT 1 BY id, hash;
