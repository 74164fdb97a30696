-- Amounts are functions of the set of facts, never of their order. Per invoice: its amount (0 while cancelled), what credit notes and
-- payments state for it; open = what is left, surplus = what is too much. Per payment: what it states per invoice, at most that
-- invoice's amount where it is known; its rest; what came back takes the rest first, then what the return names, then the last
-- allocation first. Unapplied = rests + unallocated credit + surpluses. Dated by value.

-- Three decimals, so that KWD 12.345 is exact.
ALTER TABLE {database}.postings MODIFY COLUMN amount Decimal(18, 3);
ALTER TABLE {database}.payment_returns MODIFY COLUMN amount Decimal(18, 3);
ALTER TABLE {database}.recoveries MODIFY COLUMN amount Decimal(18, 3);
ALTER TABLE {database}.closures MODIFY COLUMN kind Enum8('cancelled' = 1, 'written_off' = 2, 'reinstated' = 3, 'reversed' = 4);

-- A later list of a payment's or credit note's allocations; number 0 stands for the list itself, which may be empty.
CREATE TABLE IF NOT EXISTS {database}.allocations (
    customer_id String, currency LowCardinality(String), entry Enum8('payment' = 2, 'credit_note' = 3), entry_id String,
    allocation_id String, number UInt32, invoice_id String, day Date32, amount Decimal(18, 3),
    record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, currency, entry, entry_id, allocation_id, number, record);

-- What a return names: the part of each invoice that came back.
CREATE TABLE IF NOT EXISTS {database}.return_allocations (
    customer_id String, currency LowCardinality(String), payment_id String, return_id String, number UInt32, invoice_id String,
    day Date32, amount Decimal(18, 3), record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, currency, payment_id, return_id, number, record);

CREATE TABLE IF NOT EXISTS {database}.amendments (
    customer_id String, invoice_id String, amendment_id String, day Date32, due_on Nullable(Date32), reference String,
    record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, invoice_id, amendment_id, record);

CREATE TABLE IF NOT EXISTS {database}.disputes (
    customer_id String, invoice_id String, dispute_id String, kind Enum8('opened' = 1, 'closed' = 2), day Date32,
    record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, invoice_id, dispute_id, kind, record);

CREATE TABLE IF NOT EXISTS {database}.credit_cancellations (
    customer_id String, credit_note_id String, day Date32, record UInt64, recorded_time DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(recorded_time) ORDER BY (customer_id, credit_note_id, record);

-- What was said of an invoice, in order of value date and recorded time: (day, recorded, takes back, stands). The last word up to
-- a day is in force on it; at a tie the word that takes back.
CREATE OR REPLACE VIEW {database}.invoice_words AS
SELECT customer_id, invoice_id,
       arraySort(groupArrayIf((w.day, w.recorded, toUInt8(w.kind = 'reinstated'), toUInt8(w.kind = 'cancelled')), w.kind IN ('cancelled', 'reinstated'))) AS voids,
       arraySort(groupArrayIf((w.day, w.recorded, toUInt8(w.kind = 'reversed'), toUInt8(w.kind = 'written_off')), w.kind IN ('written_off', 'reversed'))) AS losses,
       arraySort(groupArrayIf((w.day, w.recorded, w.due_on), w.kind = 'amended')) AS dues,
       groupArrayIf((w.day, w.until), w.kind = 'disputed') AS disputes
FROM (
    SELECT customer_id, invoice_id, toString(c.kind) AS kind, c.day AS day, min(c.recorded_time) AS recorded, toDate32('1970-01-01') AS due_on, day AS until
    FROM {database}.closures AS c
    WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
    GROUP BY customer_id, invoice_id, kind, day
    UNION ALL
    SELECT customer_id, invoice_id, 'amended', min(a.day) AS day, min(a.recorded_time), assumeNotNull(min(a.due_on)), day
    FROM {database}.amendments AS a
    WHERE a.due_on IS NOT NULL AND record NOT IN (SELECT record FROM {database}.dead_letters_raw)
    GROUP BY customer_id, invoice_id, amendment_id
    UNION ALL
    SELECT customer_id, invoice_id, 'disputed', minIf(d.day, d.kind = 'opened') AS day, min(d.recorded_time), toDate32('1970-01-01'),
           if(countIf(d.kind = 'closed') = 0, toDate32('2299-12-31'), minIf(d.day, d.kind = 'closed'))
    FROM {database}.disputes AS d
    WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
    GROUP BY customer_id, invoice_id, dispute_id
    HAVING countIf(d.kind = 'opened') > 0
) AS w
GROUP BY customer_id, invoice_id;

-- Payments and credit notes whose split has changed since: other lists, returns, cancellation.
CREATE OR REPLACE VIEW {database}.changed_entries AS
SELECT customer_id, toString(entry) AS entry, entry_id FROM {database}.allocations WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
UNION DISTINCT
SELECT customer_id, 'payment', payment_id FROM {database}.payment_returns WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
UNION DISTINCT
SELECT customer_id, 'credit_note', credit_note_id FROM {database}.credit_cancellations WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw);

-- What those settle of each invoice from a day on until the next day on which anything about them changes; invoice_id is empty for
-- their rest.
CREATE OR REPLACE VIEW {database}.changed_parts AS
WITH
    toDate32('1970-01-01') AS no_day,
    toDate32('2299-12-31') AS never,
    toDecimal128(0, 3) AS zero,
    wholes AS (
        SELECT customer_id, currency, entry, entry_id, min(s.day) AS first_day, toDecimal128(sum(s.amount), 3) AS whole,
               arraySort(groupArrayIf((s.number, s.invoice_id, toDecimal128(s.amount, 3)), s.number > 0)) AS stated
        FROM (
            SELECT customer_id, currency, toString(entry) AS entry, entry_id, number, any(invoice_id) AS invoice_id, min(p.day) AS day, min(p.amount) AS amount
            FROM {database}.postings AS p
            WHERE entry IN ('payment', 'credit_note') AND record NOT IN (SELECT record FROM {database}.dead_letters_raw)
              AND (customer_id, toString(entry), entry_id) IN (SELECT customer_id, entry, entry_id FROM {database}.changed_entries)
            GROUP BY customer_id, currency, entry, entry_id, number
        ) AS s
        GROUP BY customer_id, currency, entry, entry_id
    ),
    lists AS (
        SELECT customer_id, currency, entry, entry_id, arraySort(groupArray((l.day, l.recorded, l.stated))) AS later
        FROM (
            SELECT customer_id, currency, toString(entry) AS entry, entry_id, allocation_id, min(n.day) AS day, min(n.recorded) AS recorded,
                   arraySort(groupArrayIf((n.number, n.invoice_id, toDecimal128(n.amount, 3)), n.number > 0)) AS stated
            FROM (
                SELECT customer_id, currency, entry, entry_id, allocation_id, number, any(invoice_id) AS invoice_id, min(a.day) AS day,
                       min(a.recorded_time) AS recorded, min(a.amount) AS amount
                FROM {database}.allocations AS a
                WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
                GROUP BY customer_id, currency, entry, entry_id, allocation_id, number
            ) AS n
            GROUP BY customer_id, currency, entry, entry_id, allocation_id
        ) AS l
        GROUP BY customer_id, currency, entry, entry_id
    ),
    returns AS (
        SELECT customer_id, currency, 'payment' AS entry, payment_id AS entry_id, groupArray((r.day, r.amount)) AS backs
        FROM (
            SELECT customer_id, currency, payment_id, return_id, min(x.day) AS day, toDecimal128(min(x.amount), 3) AS amount
            FROM {database}.payment_returns AS x
            WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
            GROUP BY customer_id, currency, payment_id, return_id
        ) AS r
        GROUP BY customer_id, currency, payment_id
    ),
    named AS (
        SELECT customer_id, currency, 'payment' AS entry, payment_id AS entry_id, groupArray((r.day, r.invoice_id, r.amount)) AS names
        FROM (
            SELECT customer_id, currency, payment_id, return_id, number, any(invoice_id) AS invoice_id, min(x.day) AS day, toDecimal128(min(x.amount), 3) AS amount
            FROM {database}.return_allocations AS x
            WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
            GROUP BY customer_id, currency, payment_id, return_id, number
        ) AS r
        GROUP BY customer_id, currency, payment_id
    ),
    cancellations AS (
        SELECT customer_id, 'credit_note' AS entry, credit_note_id AS entry_id, min(c.day) AS void_day
        FROM {database}.credit_cancellations AS c
        WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
        GROUP BY customer_id, credit_note_id
    ),
    entries AS (
        SELECT w.customer_id AS customer_id, w.currency AS currency, w.entry AS entry, w.entry_id AS entry_id, w.first_day AS first_day, w.whole AS whole,
               arrayMap(v -> (v.1, arrayMap(s -> (s.2, s.3), v.3)), arrayPushFront(l.later, (no_day, toDateTime64('1970-01-01 00:00:00', 6, 'UTC'), w.stated))) AS versions,
               r.backs AS backs, n.names AS names, if(c.entry_id = '', never, c.void_day) AS void_day,
               arrayDistinct(arrayFlatten(arrayMap(v -> v.2.1, versions))) AS invoices
        FROM wholes AS w
        LEFT JOIN lists AS l ON w.customer_id = l.customer_id AND w.currency = l.currency AND w.entry = l.entry AND w.entry_id = l.entry_id
        LEFT JOIN returns AS r ON w.customer_id = r.customer_id AND w.currency = r.currency AND w.entry = r.entry AND w.entry_id = r.entry_id
        LEFT JOIN named AS n ON w.customer_id = n.customer_id AND w.currency = n.currency AND w.entry = n.entry AND w.entry_id = n.entry_id
        LEFT JOIN cancellations AS c ON w.customer_id = c.customer_id AND w.entry = c.entry AND w.entry_id = c.entry_id
    ),
    -- The invoices that they name: (invoice, issued on, amount, words that cancel or reinstate).
    sizes AS (
        SELECT e.customer_id AS customer_id, e.currency AS currency, e.entry AS entry, e.entry_id AS entry_id,
               groupArray((i.invoice_id, i.issued_on, i.amount, v.voids)) AS known
        FROM (SELECT customer_id, currency, entry, entry_id, invoice_id FROM entries ARRAY JOIN invoices AS invoice_id WHERE entry = 'payment') AS e
        INNER JOIN (
            SELECT customer_id, currency, invoice_id, min(p.day) AS issued_on, toDecimal128(max(p.amount), 3) AS amount
            FROM {database}.postings AS p
            WHERE entry = 'invoice' AND record NOT IN (SELECT record FROM {database}.dead_letters_raw)
            GROUP BY customer_id, currency, invoice_id
        ) AS i ON e.customer_id = i.customer_id AND e.currency = i.currency AND e.invoice_id = i.invoice_id
        LEFT JOIN {database}.invoice_words AS v ON e.customer_id = v.customer_id AND e.invoice_id = v.invoice_id
        GROUP BY e.customer_id, e.currency, e.entry, e.entry_id
    ),
    days AS (
        SELECT e.customer_id AS customer_id, e.currency AS currency, e.entry AS entry, e.entry_id AS entry_id, e.whole AS whole, e.versions AS versions,
               e.backs AS backs, e.names AS names, e.void_day AS void_day, s.known AS known,
               arraySort(arrayDistinct(arrayMap(d -> greatest(d, e.first_day), arrayConcat(
                   [e.first_day], e.versions.1, e.backs.1, if(e.void_day = never, [], [e.void_day]), s.known.2,
                   arrayFlatten(arrayMap(k -> k.4.1, s.known)))))) AS all_days
        FROM entries AS e
        LEFT JOIN sizes AS s ON e.customer_id = s.customer_id AND e.currency = s.currency AND e.entry = s.entry AND e.entry_id = s.entry_id
    ),
    states AS (
        SELECT customer_id, currency, entry, entry_id, known, names, each_day, until,
               if(each_day >= void_day, zero, whole) AS amount,
               if(each_day >= void_day, [], arrayLast(v -> v.1 <= each_day, versions).2) AS stated_list,
               arrayDistinct(stated_list.1) AS invoice_ids,
               arraySum(arrayMap(b -> if(b.1 <= each_day, b.2, zero), backs)) AS back
        FROM days
        ARRAY JOIN all_days AS each_day, arrayPushBack(arrayPopFront(all_days), never) AS until
    ),
    parts AS (
        SELECT customer_id, currency, entry, entry_id, each_day, until, amount, invoice_ids, least(back, amount) AS came_back,
               arrayMap(i -> arraySum(arrayMap(s -> if(s.1 = i, s.2, zero), stated_list)), invoice_ids) AS stated,
               arrayMap(i -> arrayFirst(k -> k.1 = i AND k.2 <= each_day, known), invoice_ids) AS sizes_of,
               arrayMap((s, k) -> if(k.1 = '', s, least(s, if(arrayLast(w -> w.1 <= each_day, k.4).4 = 1, zero, k.3))), stated, sizes_of) AS capped,
               amount - arraySum(capped) AS rest,
               least(rest, came_back) AS from_rest,
               came_back - from_rest AS due_from_invoices,
               arrayReverse(capped) AS last_first,
               arrayMap((i, e) -> least(e, arraySum(arrayMap(n -> if(n.1 <= each_day AND n.2 = i, n.3, zero), names))), arrayReverse(invoice_ids), last_first) AS named_parts,
               arrayMap((n, sum) -> greatest(least(n, due_from_invoices - (sum - n)), zero), named_parts, arrayCumSum(named_parts)) AS undone_by_name,
               arrayMap((e, u) -> e - u, last_first, undone_by_name) AS remaining,
               due_from_invoices - arraySum(undone_by_name) AS undone_by_order,
               arrayMap((e, sum) -> e - greatest(least(e, undone_by_order - (sum - e)), zero), remaining, arrayCumSum(remaining)) AS settled_last_first
        FROM states
    )
SELECT customer_id, currency, entry, entry_id, each_day AS day, until, part.1 AS invoice_id, part.2 AS amount
FROM parts
ARRAY JOIN arrayPushBack(arrayZip(invoice_ids, arrayReverse(settled_last_first)), ('', rest - from_rest)) AS part;

-- One row per invoice with its terms, and what was paid and credited to it: day, is it a credit note, amount, key (a resent
-- fact may be there twice, with the same key); invoice_id is empty for what no allocation names.
CREATE OR REPLACE VIEW {database}.invoice_accounts AS
SELECT customer_id, currency, invoice_id,
       max(p.entry = 'invoice') AS known,
       minIf(p.day, p.entry = 'invoice') AS issued_on,
       greatest(maxIf(p.due_on, p.entry = 'invoice'), issued_on) AS due_on,
       maxIf(p.amount, p.entry = 'invoice') AS invoiced,
       groupArrayIf((p.day, p.entry = 'credit_note', p.amount, p.named), p.entry != 'invoice') AS settled
FROM (
    SELECT customer_id, currency, invoice_id, toString(s.entry) AS entry, s.day AS day, s.due_on AS due_on, toDecimal128(s.amount, 3) AS amount,
           cityHash64(s.entry, s.entry_id, s.number) AS named
    FROM {database}.postings AS s
    WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
      AND (s.entry = 'invoice' OR (customer_id, toString(s.entry), entry_id) NOT IN (SELECT customer_id, entry, entry_id FROM {database}.changed_entries))
    UNION ALL
    SELECT customer_id, currency, invoice_id, c.entry, step.1, toDate32('1970-01-01'), step.2, cityHash64(c.entry, c.entry_id, step.1, step.3, 'changed')
    FROM {database}.changed_parts AS c
    ARRAY JOIN [(c.day, c.amount, 1), (c.until, -c.amount, 0)] AS step
    WHERE step.2 != 0 AND step.1 < toDate32('2299-12-31')
) AS p
GROUP BY customer_id, currency, invoice_id;

-- By how much open amount, disputed amount and unapplied cash change on which day, invoice by invoice, with the due day under
-- which the open amount stands; and net sales of the issue day, restated. The plain case (one settlement at most, nothing taken
-- back) is told apart first: it is ten times as fast as the general one.
CREATE OR REPLACE VIEW {database}.invoice_steps AS
WITH
    toDate32('2299-12-31') AS never,
    toDecimal128(0, 3) AS zero,
    (SELECT toDate32(as_day) FROM {database}.as_of) AS last_day,
    a.settled[1] AS only,
    a.known AND empty(w.voids) AND empty(w.losses) AND empty(w.dues) AND empty(w.disputes) AND length(a.settled) < 2
        AND only.1 >= if(empty(a.settled), only.1, a.issued_on) AND only.3 <= a.invoiced AND only.3 >= 0 AS plain,
    arrayMap(s -> (s.1, if(s.2, zero, s.3), if(s.2, s.3, zero)), arrayDistinct(a.settled)) AS entries,
    -- (day, open, disputed, unapplied, due)
    arrayMap(d -> (
        d,
        if(a.known AND d >= a.issued_on AND arrayLast(l -> l.1 <= d, w.losses).4 = 0,
           greatest(if(arrayLast(v -> v.1 <= d, w.voids).4 = 1, zero, a.invoiced) - arraySum(arrayMap(e -> if(e.1 <= d, e.2 + e.3, zero), entries)), zero), zero) AS open,
        if(arrayExists(x -> x.1 <= d AND d < x.2, w.disputes), open, zero),
        arraySum(arrayMap(e -> if(e.1 <= d, e.2 + e.3, zero), entries)) AS settled_sum,
        greatest(if(arrayExists(u -> u.1 <= d, w.dues), arrayLast(u -> u.1 <= d, w.dues).3, a.due_on), a.issued_on)
    ), arraySort(arrayDistinct(arrayConcat(entries.1, if(a.known, [a.issued_on], []), w.voids.1, w.losses.1, w.dues.1, w.disputes.1,
                 arrayFilter(x -> x < never, w.disputes.2))))) AS raw_states,
    arrayMap(s -> (s.1, s.2, s.3,
        greatest(s.4 - if(a.known AND s.1 >= a.issued_on AND arrayLast(v -> v.1 <= s.1, w.voids).4 = 0, a.invoiced, zero), zero),
        s.5), raw_states) AS states,
    if(a.known, greatest(if(arrayLast(v -> v.1 <= last_day, w.voids).4 = 1, zero, a.invoiced) - arraySum(arrayMap(e -> if(e.1 <= last_day, e.3, zero), entries)), zero), zero) AS net_sales,
    -- (day, due, open step, disputed step, unapplied step, sales step)
    multiIf(
        a.invoice_id = '', arrayMap(e -> (e.1, never, zero, zero, e.2 + e.3, zero), entries),
        plain AND empty(a.settled), [(a.issued_on, a.due_on, a.invoiced, zero, zero, a.invoiced)],
        plain, [(a.issued_on, a.due_on, a.invoiced, zero, zero, if(only.2 AND only.1 <= last_day, a.invoiced - only.3, a.invoiced)),
                (only.1, a.due_on, -only.3, zero, zero, zero)],
        arrayConcat(
            arrayMap(s -> (s.1, s.5, s.2, s.3, s.4, zero), states),
            arrayMap((s, before) -> (s.1, before.5, -before.2, -before.3, -before.4, zero), arrayPopFront(states), arrayPopBack(states)),
            if(a.known, [(a.issued_on, a.due_on, zero, zero, zero, net_sales)], []))
    ) AS steps
SELECT a.customer_id AS customer_id, a.currency AS currency, a.invoice_id AS invoice_id, step.2 AS due_on, step.1 AS day,
       step.3 AS open_step, step.4 AS disputed_step, step.5 AS unapplied_step, step.6 AS sales_step
FROM {database}.invoice_accounts AS a
ANY LEFT JOIN {database}.invoice_words AS w ON a.customer_id = w.customer_id AND a.invoice_id = w.invoice_id
ARRAY JOIN steps AS step;

-- A row per debtor, currency and day, from the first fact to the last tick. An open amount moves through the buckets by
-- itself, so its steps are spread over the days on which it does; the sum of the steps up to a day is that day's amount.
CREATE OR REPLACE VIEW {database}.debtor_daily AS
WITH
    (SELECT toInt32(as_day) FROM {database}.as_of) AS last_day,
    toDecimal128(0, 3) AS zero,
    [(0, -1000000, 0), (1, 1, 30), (2, 31, 60), (3, 61, 90), (4, 91, 1000000)] AS buckets,
    steps AS (
        SELECT customer_id, currency, toInt32(s.day) AS step_day, toInt32(s.due_on) AS due_day,
               sum(s.open_step) AS opened, sum(s.disputed_step) AS contested, sum(s.unapplied_step) AS freed, sum(s.sales_step) AS sold
        FROM {database}.invoice_steps AS s
        GROUP BY customer_id, currency, step_day, due_day
    ),
    moves AS (
        SELECT customer_id, currency, move.1 AS move_day,
               sumIf(move.3, move.2 = 0) AS not_due_step, sumIf(move.3, move.2 = 1) AS due_1_30_step,
               sumIf(move.3, move.2 = 2) AS due_31_60_step, sumIf(move.3, move.2 = 3) AS due_61_90_step,
               sumIf(move.3, move.2 = 4) AS due_over_90_step, sumIf(move.3, move.2 = 5) AS unapplied_step,
               sumIf(move.3, move.2 = 6) AS sales_step, sumIf(move.3, move.2 = 7) AS sales_90d_step,
               sumIf(move.3, move.2 = 8) AS disputed_step
        FROM steps
        ARRAY JOIN arrayConcat(
            arrayMap(b -> (greatest(step_day, due_day + b.2), b.1, opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            arrayMap(b -> (due_day + b.3 + 1, b.1, -opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            [(step_day, 5, freed), (step_day, 6, sold), (step_day, 7, sold), (step_day + 90, 7, -sold), (step_day, 8, contested)]
        ) AS move
        WHERE move.1 <= last_day
        GROUP BY customer_id, currency, move_day
    ),
    running AS (
        SELECT customer_id, currency, move_day, sales_step,
               sum(not_due_step) OVER past AS not_due, sum(due_1_30_step) OVER past AS due_1_30,
               sum(due_31_60_step) OVER past AS due_31_60, sum(due_61_90_step) OVER past AS due_61_90,
               sum(due_over_90_step) OVER past AS due_over_90, sum(unapplied_step) OVER past AS unapplied,
               sum(sales_step) OVER past AS sales_to_date, sum(sales_90d_step) OVER past AS sales_90d, sum(disputed_step) OVER past AS disputed,
               leadInFrame(move_day, 1, assumeNotNull(last_day) + 1) OVER (
                   PARTITION BY customer_id, currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_day
        FROM moves
        WINDOW past AS (PARTITION BY customer_id, currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    days AS (
        SELECT customer_id, currency, each_day, if(each_day = move_day, sales_step, zero) AS sales,
               not_due, due_1_30, due_31_60, due_61_90, due_over_90, unapplied, disputed, sales_to_date, sales_90d,
               due_1_30 + due_31_60 + due_61_90 + due_over_90 AS overdue, not_due + overdue AS open,
               sales_to_date - greatest(open, zero) AS exhausted_at
        FROM running
        ARRAY JOIN range(move_day, next_day) AS each_day
    ),
    -- Countback: the first day at whose end more had been sold than what is no longer open (exhausted_at). Sales to date only
    -- grow, so in falling order of both that day is the least day of sales met so far; at a tie it must not be met yet. NULL where
    -- the sales do not cover what is open: they are net, restated, and may have been credited since.
    ranked AS (
        SELECT *, is_sale,
               min(if(is_sale = 1, (each_day, sales_to_date, sales), (2147483647, zero, zero))) OVER (
                   PARTITION BY customer_id, currency ORDER BY if(is_sale = 1, sales_to_date, exhausted_at) DESC, is_sale
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reached
        FROM days
        ARRAY JOIN if(sales > 0, [0, 1], [0]) AS is_sale
    )
SELECT customer_id, currency, toDate32(each_day) AS day,
       toDecimal128(open - r.unapplied, 3) AS exposure, toDecimal128(open, 3) AS open_amount, toDecimal128(r.unapplied, 3) AS unapplied, toDecimal128(r.disputed, 3) AS disputed_amount,
       toDecimal128(overdue, 3) AS overdue_amount, toDecimal128(r.not_due, 3) AS not_due, toDecimal128(r.due_1_30, 3) AS due_1_30,
       toDecimal128(r.due_31_60, 3) AS due_31_60, toDecimal128(r.due_61_90, 3) AS due_61_90,
       toDecimal128(r.due_over_90, 3) AS due_over_90, toDecimal128(r.sales, 3) AS sales, toDecimal128(r.sales_90d, 3) AS sales_90d,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(open, 10) * 90 / if(r.sales_90d <= 0, 1, r.sales_90d), 2), 2)) AS dso_standard,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(r.not_due, 10) * 90 / if(r.sales_90d <= 0, 1, r.sales_90d), 2), 2)) AS dso_best_possible,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(overdue, 10) * 90 / if(r.sales_90d <= 0, 1, r.sales_90d), 2), 2)) AS dso_add,
       multiIf(r.sales_90d <= 0, NULL, open <= 0, toDecimal128(0, 2), exhausted_at < 0, NULL,
               toDecimal128(round(each_day - reached.1 + toDecimal128(reached.2 - exhausted_at, 10) / if(reached.3 = 0, 1, reached.3), 2), 2)
       ) AS dso_countback
FROM ranked AS r
WHERE is_sale = 0;

-- The same for all debtors together.
CREATE OR REPLACE VIEW {database}.portfolio_daily AS
WITH
    (SELECT toInt32(as_day) FROM {database}.as_of) AS last_day,
    toDecimal128(0, 3) AS zero,
    [(0, -1000000, 0), (1, 1, 30), (2, 31, 60), (3, 61, 90), (4, 91, 1000000)] AS buckets,
    steps AS (
        SELECT currency, toInt32(s.day) AS step_day, toInt32(s.due_on) AS due_day,
               sum(s.open_step) AS opened, sum(s.disputed_step) AS contested, sum(s.unapplied_step) AS freed, sum(s.sales_step) AS sold
        FROM {database}.invoice_steps AS s
        GROUP BY currency, step_day, due_day
    ),
    moves AS (
        SELECT currency, move.1 AS move_day,
               sumIf(move.3, move.2 = 0) AS not_due_step, sumIf(move.3, move.2 = 1) AS due_1_30_step,
               sumIf(move.3, move.2 = 2) AS due_31_60_step, sumIf(move.3, move.2 = 3) AS due_61_90_step,
               sumIf(move.3, move.2 = 4) AS due_over_90_step, sumIf(move.3, move.2 = 5) AS unapplied_step,
               sumIf(move.3, move.2 = 6) AS sales_step, sumIf(move.3, move.2 = 7) AS sales_90d_step,
               sumIf(move.3, move.2 = 8) AS disputed_step
        FROM steps
        ARRAY JOIN arrayConcat(
            arrayMap(b -> (greatest(step_day, due_day + b.2), b.1, opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            arrayMap(b -> (due_day + b.3 + 1, b.1, -opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            [(step_day, 5, freed), (step_day, 6, sold), (step_day, 7, sold), (step_day + 90, 7, -sold), (step_day, 8, contested)]
        ) AS move
        WHERE move.1 <= last_day
        GROUP BY currency, move_day
    ),
    running AS (
        SELECT currency, move_day, sales_step,
               sum(not_due_step) OVER past AS not_due, sum(due_1_30_step) OVER past AS due_1_30,
               sum(due_31_60_step) OVER past AS due_31_60, sum(due_61_90_step) OVER past AS due_61_90,
               sum(due_over_90_step) OVER past AS due_over_90, sum(unapplied_step) OVER past AS unapplied,
               sum(sales_step) OVER past AS sales_to_date, sum(sales_90d_step) OVER past AS sales_90d, sum(disputed_step) OVER past AS disputed,
               leadInFrame(move_day, 1, assumeNotNull(last_day) + 1) OVER (
                   PARTITION BY currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_day
        FROM moves
        WINDOW past AS (PARTITION BY currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    days AS (
        SELECT currency, each_day, if(each_day = move_day, sales_step, zero) AS sales,
               not_due, due_1_30, due_31_60, due_61_90, due_over_90, unapplied, disputed, sales_to_date, sales_90d,
               due_1_30 + due_31_60 + due_61_90 + due_over_90 AS overdue, not_due + overdue AS open,
               sales_to_date - greatest(open, zero) AS exhausted_at
        FROM running
        ARRAY JOIN range(move_day, next_day) AS each_day
    ),
    -- Countback: the first day at whose end more had been sold than what is no longer open (exhausted_at). Sales to date only
    -- grow, so in falling order of both that day is the least day of sales met so far; at a tie it must not be met yet. NULL where
    -- the sales do not cover what is open: they are net, restated, and may have been credited since.
    ranked AS (
        SELECT *, is_sale,
               min(if(is_sale = 1, (each_day, sales_to_date, sales), (2147483647, zero, zero))) OVER (
                   PARTITION BY currency ORDER BY if(is_sale = 1, sales_to_date, exhausted_at) DESC, is_sale
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reached
        FROM days
        ARRAY JOIN if(sales > 0, [0, 1], [0]) AS is_sale
    )
SELECT currency, toDate32(each_day) AS day,
       toDecimal128(open - r.unapplied, 3) AS exposure, toDecimal128(open, 3) AS open_amount, toDecimal128(r.unapplied, 3) AS unapplied, toDecimal128(r.disputed, 3) AS disputed_amount,
       toDecimal128(overdue, 3) AS overdue_amount, toDecimal128(r.not_due, 3) AS not_due, toDecimal128(r.due_1_30, 3) AS due_1_30,
       toDecimal128(r.due_31_60, 3) AS due_31_60, toDecimal128(r.due_61_90, 3) AS due_61_90,
       toDecimal128(r.due_over_90, 3) AS due_over_90, toDecimal128(r.sales, 3) AS sales, toDecimal128(r.sales_90d, 3) AS sales_90d,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(open, 10) * 90 / if(r.sales_90d <= 0, 1, r.sales_90d), 2), 2)) AS dso_standard,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(r.not_due, 10) * 90 / if(r.sales_90d <= 0, 1, r.sales_90d), 2), 2)) AS dso_best_possible,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(overdue, 10) * 90 / if(r.sales_90d <= 0, 1, r.sales_90d), 2), 2)) AS dso_add,
       multiIf(r.sales_90d <= 0, NULL, open <= 0, toDecimal128(0, 2), exhausted_at < 0, NULL,
               toDecimal128(round(each_day - reached.1 + toDecimal128(reached.2 - exhausted_at, 10) / if(reached.3 = 0, 1, reached.3), 2), 2)
       ) AS dso_countback
FROM ranked AS r
WHERE is_sale = 0;

-- What each debtor owes as of the last tick: the rules of debtor_daily for its last day, without the days before.
CREATE OR REPLACE VIEW {database}.debtor_amounts AS
WITH
    (SELECT toInt32(as_day) FROM {database}.as_of) AS today,
    toDecimal128(0, 3) AS zero,
    by_day AS (
        SELECT customer_id, currency, toInt32(s.day) AS step_day, sum(s.open_step) AS opened, sum(s.disputed_step) AS contested, sum(s.unapplied_step) AS freed,
               sumIf(s.open_step, toInt32(s.due_on) >= today) AS not_due,
               sumIf(s.open_step, today - toInt32(s.due_on) BETWEEN 1 AND 30) AS due_1_30,
               sumIf(s.open_step, today - toInt32(s.due_on) BETWEEN 31 AND 60) AS due_31_60,
               sumIf(s.open_step, today - toInt32(s.due_on) BETWEEN 61 AND 90) AS due_61_90,
               sumIf(s.open_step, today - toInt32(s.due_on) > 90) AS due_over_90,
               sum(s.sales_step) AS sold
        FROM {database}.invoice_steps AS s
        WHERE toInt32(s.day) <= today
        GROUP BY customer_id, currency, step_day
    ),
    amounts AS (
        SELECT customer_id, currency, sum(opened) AS open, sum(contested) AS disputed, sum(freed) AS unapplied, sum(b.not_due) AS not_due,
               sum(b.due_1_30) AS due_1_30, sum(b.due_31_60) AS due_31_60, sum(b.due_61_90) AS due_61_90,
               sum(b.due_over_90) AS due_over_90, sumIf(sold, today - step_day < 90) AS sales_90d,
               arrayReverseSort(groupArrayIf((step_day, sold), sold > 0)) AS sales,
               arrayCumSum(sales.2) AS sold_since
        FROM by_day AS b
        GROUP BY customer_id, currency
    ),
    reached AS (
        SELECT *, open - not_due AS overdue, if(a.sales_90d <= 0, 1, a.sales_90d) AS divisor,
               arrayFirstIndex(sum -> sum >= a.open, sold_since) AS found,
               sales[found].1 AS last_day, sold_since[found] - sales[found].2 AS sold_after, if(found = 0, 1, sales[found].2) AS last_sold
        FROM amounts AS a
    )
SELECT customer_id, currency, toDecimal128(open - r.unapplied, 3) AS exposure, toDecimal128(open, 3) AS open_amount,
       toDecimal128(r.unapplied, 3) AS unapplied, toDecimal128(r.disputed, 3) AS disputed_amount, toDecimal128(overdue, 3) AS overdue_amount, toDecimal128(r.not_due, 3) AS not_due,
       toDecimal128(r.due_1_30, 3) AS due_1_30, toDecimal128(r.due_31_60, 3) AS due_31_60, toDecimal128(r.due_61_90, 3) AS due_61_90,
       toDecimal128(r.due_over_90, 3) AS due_over_90, toDecimal128(r.sales_90d, 3) AS sales_90d,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(open, 10) * 90 / divisor, 2), 2)) AS dso_standard,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(r.not_due, 10) * 90 / divisor, 2), 2)) AS dso_best_possible,
       if(r.sales_90d <= 0, NULL, toDecimal128(round(toDecimal128(overdue, 10) * 90 / divisor, 2), 2)) AS dso_add,
       multiIf(r.sales_90d <= 0, NULL, open <= 0, toDecimal128(0, 2), found = 0, NULL,
               toDecimal128(round(today - last_day + toDecimal128(open - sold_after, 10) / last_sold, 2), 2)) AS dso_countback
FROM reached AS r;

-- One row per debtor and currency, also where there is a limit or a score but no invoice yet. Score and band are the debtor's, in
-- every row; the loss, the limit and the insured amount stand in the row of their own currency, so that sums count them once.
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
