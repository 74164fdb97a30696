-- What the events say, typed and keyed by their business ids, for the roll-ups. Every row names the record that said it, so
-- that what became a dead letter can be left out. A fact that comes again under another event's id is told once by the views.

-- Invoices, and what was allocated to them. invoice_id is empty for the part of a payment or credit note that no allocation
-- names (number 0); allocations count from 1.
CREATE TABLE IF NOT EXISTS {database}.postings (
    customer_id String, currency LowCardinality(String), invoice_id String,
    entry Enum8('invoice' = 1, 'payment' = 2, 'credit_note' = 3, 'return' = 4), entry_id String, number UInt32,
    day Date32, due_on Date32, amount Decimal(18, 2),
    record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, currency, invoice_id, entry, entry_id, number, record);

CREATE TABLE IF NOT EXISTS {database}.closures (
    customer_id String, invoice_id String, kind Enum8('cancelled' = 1, 'written_off' = 2), day Date32,
    record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, invoice_id, kind, record);

CREATE TABLE IF NOT EXISTS {database}.payment_returns (
    customer_id String, currency LowCardinality(String), payment_id String, return_id String, day Date32, amount Decimal(18, 2),
    record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, currency, payment_id, return_id, record);

CREATE TABLE IF NOT EXISTS {database}.recoveries (
    customer_id String, currency LowCardinality(String), invoice_id String, recovery_id String, day Date32,
    amount Decimal(18, 2), record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, currency, recovery_id, record);

CREATE TABLE IF NOT EXISTS {database}.customers_raw (
    customer_id String, country String, industry String, segment String, terms_days Nullable(Int32), parent_id String,
    group_id String, currency LowCardinality(String), insured_limit Nullable(Decimal(18, 2)),
    security_held Nullable(Decimal(18, 2)), offset UInt64, record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, record);

CREATE VIEW IF NOT EXISTS {database}.customers AS
SELECT customer_id, country, industry, segment, terms_days, parent_id, group_id, currency, insured_limit, security_held,
       recorded_time
FROM {database}.customers_raw
WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
ORDER BY customer_id, recorded_time DESC, offset DESC
LIMIT 1 BY customer_id;

-- The last tick of each partition; time does not go back, so a replay that starts over does not either.
CREATE TABLE IF NOT EXISTS {database}.ticks (
    prefix String, partition UInt32, number Int64, time DateTime64(6, 'UTC'), step Int64, last Bool
) ENGINE = ReplacingMergeTree(time) ORDER BY (prefix, partition);

-- A prefix is as far as the partition that is behind; as_day is the day that the tick ends or lies in. No row before a tick.
CREATE VIEW IF NOT EXISTS {database}.as_of AS
SELECT max(least_time) AS as_of, toDate32(as_of - toIntervalMicrosecond(1)) AS as_day
FROM (
    SELECT prefix, min(last_time) AS least_time
    FROM (SELECT prefix, partition, max(time) AS last_time FROM {database}.ticks GROUP BY prefix, partition)
    GROUP BY prefix
)
HAVING count() > 0;

-- Where the sink goes on. Only an optimisation: reading twice changes nothing.
CREATE TABLE IF NOT EXISTS {database}.sink_positions (
    cluster_id String, topic_id String, topic String, partition UInt32, next_offset UInt64, written_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(written_at) ORDER BY (cluster_id, topic_id, topic, partition);

-- Rows that ClickHouse would not take, so that nothing is dropped in silence.
CREATE TABLE IF NOT EXISTS {database}.sink_refused (
    table String, row String, error String, refused_at DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY refused_at;
