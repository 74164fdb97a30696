-- model_quality in the shape of its topic: a row per day, segment and scorer. The table of 0003 was never written to.

DROP VIEW IF EXISTS {database}.model_quality;

DROP TABLE IF EXISTS {database}.model_quality_raw;

-- A day is measured again when more of its labels come: the row with the most labels counts.
CREATE TABLE IF NOT EXISTS {database}.model_quality_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    target LowCardinality(String), segment String, scorer LowCardinality(String), in_force LowCardinality(String), day Date32,
    window_days UInt16, labels UInt64, positives UInt64,
    auc Nullable(Float64), log_loss Float64, brier Float64, ece Float64,
    model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(labels) ORDER BY (target, segment, scorer, day);

CREATE OR REPLACE VIEW {database}.model_quality AS
SELECT * FROM {database}.model_quality_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.model_alerts_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    alert_type LowCardinality(String), target LowCardinality(String), in_force LowCardinality(String), day Date32,
    window_days UInt16, labels UInt64, log_loss Nullable(Float64), late_rate_log_loss Nullable(Float64),
    text String, recommended_action String,
    model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY id;

CREATE OR REPLACE VIEW {database}.model_alerts AS
SELECT * FROM {database}.model_alerts_raw FINAL;
