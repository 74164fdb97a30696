-- What a score says besides: the linear log-odds that its reasons add up to, more than 30 days late, when it is paid, what a default costs.

ALTER TABLE {database}.scores_raw
    ADD COLUMN IF NOT EXISTS log_odds Nullable(Float64) AFTER reasons,
    ADD COLUMN IF NOT EXISTS lift Float64 AFTER log_odds,
    ADD COLUMN IF NOT EXISTS p_late_30 Nullable(Float64) AFTER lift,
    ADD COLUMN IF NOT EXISTS expected_paid_on Nullable(Date32) AFTER p_late_30,
    ADD COLUMN IF NOT EXISTS paid_from Nullable(Date32) AFTER expected_paid_on,
    ADD COLUMN IF NOT EXISTS paid_to Nullable(Date32) AFTER paid_from,
    ADD COLUMN IF NOT EXISTS loss_given_default Nullable(Float64) AFTER paid_to,
    ADD COLUMN IF NOT EXISTS scorer LowCardinality(String) DEFAULT 'hedge' AFTER loss_given_default;

CREATE OR REPLACE VIEW {database}.scores AS
SELECT * FROM {database}.scores_raw FINAL;
