-- What went out, one row per event id, and the tables of contracts to come.

CREATE TABLE IF NOT EXISTS {database}.scores_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    causation_id String, correlation_id String,
    customer_id String, invoice_id Nullable(String), p_late Float64, p_default Float64, ready Bool,
    expected_loss Nullable(Decimal(18, 2)), currency LowCardinality(Nullable(String)), band LowCardinality(String),
    reasons Array(Tuple(code String, contribution Float64, text String, evidence Array(String))),
    due_date Nullable(Date32), scored_at DateTime64(6, 'UTC'),
    policy_version LowCardinality(String), model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE VIEW IF NOT EXISTS {database}.scores AS
SELECT * FROM {database}.scores_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.alerts_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    causation_id String, correlation_id String,
    customer_id String, alert_id String, state LowCardinality(String), alert_type LowCardinality(String),
    severity LowCardinality(String), fingerprint String, raised_at DateTime64(6, 'UTC'),
    cleared_at Nullable(DateTime64(6, 'UTC')), exposure Nullable(Decimal(18, 2)), currency LowCardinality(Nullable(String)),
    reasons Array(Tuple(code String, contribution Float64, text String, evidence Array(String))),
    evidence Array(String), recommended_action String,
    policy_version LowCardinality(String), model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE VIEW IF NOT EXISTS {database}.alerts AS
SELECT * FROM {database}.alerts_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.limit_changes_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    causation_id String, correlation_id String,
    customer_id String, limit_change_id String, generation UInt32, sequence UInt32,
    previous_limit Nullable(Decimal(18, 2)), new_limit Decimal(18, 2), currency LowCardinality(String), terms_days UInt32,
    security_required Bool, hold Bool, effective_from Date32, expires_on Nullable(Date32),
    reasons Array(Tuple(code String, contribution Float64, text String, evidence Array(String))),
    evidence Array(String), supersedes Nullable(String),
    policy_version LowCardinality(String), model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE VIEW IF NOT EXISTS {database}.limit_changes AS
SELECT * FROM {database}.limit_changes_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.limit_proposals_raw AS {database}.limit_changes_raw;

CREATE VIEW IF NOT EXISTS {database}.limit_proposals AS
SELECT * FROM {database}.limit_proposals_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.journal_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    prefix LowCardinality(String), agent LowCardinality(String), agent_partition UInt32, number UInt64,
    runs Array(Tuple(topic String, start UInt64, end UInt64)), order LowCardinality(String),
    tick Nullable(Int64), tick_offset Nullable(UInt64), context_version String, code_version LowCardinality(String),
    applied UInt64, duplicates UInt64, rejected UInt64, outputs UInt64, paused Array(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY id;

CREATE VIEW IF NOT EXISTS {database}.journal AS
SELECT * FROM {database}.journal_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.models_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    version String, examples UInt64, step Int64, data String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY id;

CREATE VIEW IF NOT EXISTS {database}.models AS
SELECT * FROM {database}.models_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.training_examples_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    customer_id String, example_id String, invoice_id String, target LowCardinality(String), label UInt8,
    keys Array(String), row_logit Float64, row_variance Float64, scored_on Date32, matured_on Date32
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE VIEW IF NOT EXISTS {database}.training_examples AS
SELECT * FROM {database}.training_examples_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.credit_decisions_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    causation_id String, correlation_id String,
    customer_id String, decision_id String, application_id String, outcome LowCardinality(String),
    amount Nullable(Decimal(18, 2)), currency LowCardinality(Nullable(String)), terms_days Nullable(UInt32),
    security_required Bool,
    reasons Array(Tuple(code String, contribution Float64, text String, evidence Array(String))),
    evidence Array(String), decided_at DateTime64(6, 'UTC'),
    policy_version LowCardinality(String), model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE VIEW IF NOT EXISTS {database}.credit_decisions AS
SELECT * FROM {database}.credit_decisions_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.collection_actions_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    causation_id String, correlation_id String,
    customer_id String, action_id String, action LowCardinality(String), state LowCardinality(String), invoice_ids Array(String),
    amount Nullable(Decimal(18, 2)), currency LowCardinality(Nullable(String)), expected_value Nullable(Decimal(18, 2)),
    due_on Nullable(Date32),
    reasons Array(Tuple(code String, contribution Float64, text String, evidence Array(String))),
    policy_version LowCardinality(String), model_version LowCardinality(String), code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE VIEW IF NOT EXISTS {database}.collection_actions AS
SELECT * FROM {database}.collection_actions_raw FINAL;

CREATE TABLE IF NOT EXISTS {database}.model_quality_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'), day Date32,
    model_version LowCardinality(String), target LowCardinality(String), segment String, metric LowCardinality(String),
    value Float64, labels UInt64
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY id;

CREATE VIEW IF NOT EXISTS {database}.model_quality AS
SELECT * FROM {database}.model_quality_raw FINAL;
