-- A reason's words in German and its family, and what would put a score into another band. Rows that were written before have
-- neither: where they are wanted, have the sink read the log once more (DELETE FROM sink_positions WHERE topic LIKE '%-scores').

ALTER TABLE {database}.scores_raw
    MODIFY COLUMN reasons Array(Tuple(
        code String, contribution Float64, text String, evidence Array(String), text_de Nullable(String), family String)),
    ADD COLUMN IF NOT EXISTS would_change Tuple(
        band String, p_late Float64, p_default Float64, log_odds Float64, text String, text_de String) AFTER scorer;

CREATE OR REPLACE VIEW {database}.scores AS
SELECT * FROM {database}.scores_raw FINAL;

-- Deadlines of debtors on which our own code failed: each is tried again a day later, and is a row of its own if it fails again.

CREATE TABLE IF NOT EXISTS {database}.failed_deadlines_raw (
    id String, partition UInt32, offset UInt64, time DateTime64(6, 'UTC'), recorded_time DateTime64(6, 'UTC'),
    customer_id String, kind LowCardinality(String), row String, due_on Date32, try_again_on Date32, error String,
    recommended_action String, code_version LowCardinality(String)
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, id);

CREATE OR REPLACE VIEW {database}.failed_deadlines AS
SELECT * FROM {database}.failed_deadlines_raw FINAL;
