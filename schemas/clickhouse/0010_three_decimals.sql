-- Three decimals in master data and in what is decided, too, so that limits and exposures in KWD are exact.
ALTER TABLE {database}.customers_raw MODIFY COLUMN insured_limit Nullable(Decimal(18, 3));
ALTER TABLE {database}.customers_raw MODIFY COLUMN security_held Nullable(Decimal(18, 3));
ALTER TABLE {database}.scores_raw MODIFY COLUMN expected_loss Nullable(Decimal(18, 3));
ALTER TABLE {database}.alerts_raw MODIFY COLUMN exposure Nullable(Decimal(18, 3));
ALTER TABLE {database}.limit_changes_raw MODIFY COLUMN previous_limit Nullable(Decimal(18, 3));
ALTER TABLE {database}.limit_changes_raw MODIFY COLUMN new_limit Decimal(18, 3);
ALTER TABLE {database}.limit_proposals_raw MODIFY COLUMN previous_limit Nullable(Decimal(18, 3));
ALTER TABLE {database}.limit_proposals_raw MODIFY COLUMN new_limit Decimal(18, 3);
ALTER TABLE {database}.credit_decisions_raw MODIFY COLUMN amount Nullable(Decimal(18, 3));
ALTER TABLE {database}.collection_actions_raw MODIFY COLUMN amount Nullable(Decimal(18, 3));
ALTER TABLE {database}.collection_actions_raw MODIFY COLUMN expected_value Nullable(Decimal(18, 3));

-- A view keeps the types of its columns from the day on which it was created: those that show these columns are created again.
CREATE OR REPLACE VIEW {database}.customers AS
SELECT customer_id, country, industry, segment, terms_days, parent_id, group_id, currency, insured_limit, security_held,
       recorded_time
FROM {database}.customers_raw
WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
ORDER BY customer_id, recorded_time DESC, offset DESC
LIMIT 1 BY customer_id;

CREATE OR REPLACE VIEW {database}.scores AS
SELECT * FROM {database}.scores_raw FINAL;

CREATE OR REPLACE VIEW {database}.alerts AS
SELECT * FROM {database}.alerts_raw FINAL;

CREATE OR REPLACE VIEW {database}.limit_changes AS
SELECT * FROM {database}.limit_changes_raw FINAL;

CREATE OR REPLACE VIEW {database}.limit_proposals AS
SELECT * FROM {database}.limit_proposals_raw FINAL;

CREATE OR REPLACE VIEW {database}.credit_decisions AS
SELECT * FROM {database}.credit_decisions_raw FINAL;

CREATE OR REPLACE VIEW {database}.collection_actions AS
SELECT * FROM {database}.collection_actions_raw FINAL;

CREATE OR REPLACE VIEW {database}.debtor_scores AS
SELECT customer_id, p_late, p_default, expected_loss, coalesce(currency, '') AS currency, band, scored_at
FROM {database}.scores_raw
WHERE invoice_id IS NULL
ORDER BY customer_id, scored_at DESC, recorded_time DESC, offset DESC
LIMIT 1 BY customer_id;

CREATE OR REPLACE VIEW {database}.current_limits AS
SELECT customer_id, generation, sequence, new_limit AS credit_limit, currency, terms_days, security_required, hold,
       effective_from, expires_on
FROM {database}.limit_changes_raw
ORDER BY customer_id, generation DESC, sequence DESC
LIMIT 1 BY customer_id;

CREATE OR REPLACE VIEW {database}.debtors AS
WITH
    toDecimal128(0, 3) AS zero,
    amounts AS (
        SELECT customer_id, toString(currency) AS currency,
               exposure, open_amount, unapplied, disputed_amount, overdue_amount, not_due, due_1_30, due_31_60, due_61_90,
               due_over_90, sales_90d, dso_standard, dso_best_possible, dso_add, dso_countback
        FROM {database}.debtor_amounts
        UNION ALL
        SELECT customer_id, toString(currency),
               zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, NULL, NULL, NULL, NULL
        FROM {database}.current_limits
        UNION ALL
        SELECT customer_id, toString(currency),
               zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, NULL, NULL, NULL, NULL
        FROM {database}.debtor_scores
        WHERE customer_id NOT IN (SELECT customer_id FROM {database}.postings)
          AND customer_id NOT IN (SELECT customer_id FROM {database}.limit_changes_raw)
        UNION ALL
        SELECT customer_id, toString(currency),
               zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, NULL, NULL, NULL, NULL
        FROM {database}.customers
        WHERE currency != '' AND insured_limit > 0
    ),
    owed AS (
        SELECT customer_id, currency,
               sum(m.exposure) AS exposure, sum(m.open_amount) AS open_amount,
               sum(m.unapplied) AS unapplied, sum(m.disputed_amount) AS disputed_amount,
               sum(m.overdue_amount) AS overdue_amount, sum(m.not_due) AS not_due,
               sum(m.due_1_30) AS due_1_30, sum(m.due_31_60) AS due_31_60,
               sum(m.due_61_90) AS due_61_90, sum(m.due_over_90) AS due_over_90,
               sum(m.sales_90d) AS sales_90d, max(m.dso_standard) AS dso_standard,
               max(m.dso_best_possible) AS dso_best_possible, max(m.dso_add) AS dso_add,
               max(m.dso_countback) AS dso_countback
        FROM amounts AS m
        GROUP BY customer_id, currency
    ),
    -- An insured amount without a currency stands in one row only: that of the limit, else the first.
    homes AS (
        SELECT o.customer_id AS customer_id, if(countIf(o.currency = l.currency) > 0, any(toString(l.currency)), min(o.currency)) AS home
        FROM owed AS o
        LEFT JOIN {database}.current_limits AS l ON l.customer_id = o.customer_id
        GROUP BY o.customer_id
    )
SELECT a.customer_id AS customer_id, a.currency AS currency,
       a.exposure AS exposure, a.open_amount AS open_amount, a.unapplied AS unapplied, a.disputed_amount AS disputed_amount,
       a.overdue_amount AS overdue_amount, a.not_due AS not_due, a.due_1_30 AS due_1_30, a.due_31_60 AS due_31_60,
       a.due_61_90 AS due_61_90, a.due_over_90 AS due_over_90, a.sales_90d AS sales_90d,
       a.dso_standard AS dso_standard, a.dso_best_possible AS dso_best_possible, a.dso_add AS dso_add,
       a.dso_countback AS dso_countback,
       if(s.customer_id = '', NULL, s.p_late) AS p_late, if(s.customer_id = '', NULL, s.p_default) AS p_default,
       if(s.currency = a.currency, s.expected_loss, NULL) AS expected_loss, if(s.customer_id = '', NULL, s.band) AS band,
       if(l.customer_id != '' AND l.currency = a.currency, l.credit_limit, NULL) AS credit_limit,
       if(if(c.currency = '', h.home, toString(c.currency)) = a.currency, toDecimal128(coalesce(c.insured_limit, 0), 3), zero) AS insured,
       c.group_id AS group_id, c.segment AS segment, c.industry AS industry, c.country AS country,
       (SELECT as_of FROM {database}.as_of) AS as_of
FROM owed AS a
LEFT JOIN {database}.debtor_scores AS s ON s.customer_id = a.customer_id
LEFT JOIN {database}.current_limits AS l ON l.customer_id = a.customer_id
LEFT JOIN {database}.customers AS c ON c.customer_id = a.customer_id
LEFT JOIN homes AS h ON h.customer_id = a.customer_id;
