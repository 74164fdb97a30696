-- Roll-ups, computed when they are asked for over facts of which each counts once: nothing is summed on insert.
-- Dated by value: a fact that becomes known later restates the days before.

-- What returned payments undo, as negative postings: the unapplied rest first (number 0), then the last allocation, and so on.
CREATE VIEW IF NOT EXISTS {database}.return_postings AS
WITH
    undone AS (
        SELECT customer_id, currency, payment_id, return_id, min(r.day) AS day, min(r.amount) AS amount
        FROM {database}.payment_returns AS r
        WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
        GROUP BY customer_id, currency, payment_id, return_id
    ),
    returns AS (
        SELECT customer_id, currency, payment_id, return_id, day,
               sum(amount) OVER (PARTITION BY customer_id, currency, payment_id ORDER BY day, return_id) AS return_end,
               return_end - amount AS return_start
        FROM undone
    ),
    slots AS (
        SELECT customer_id, currency, entry_id AS payment_id, number, invoice_id, min(p.day) AS paid_on, min(p.amount) AS amount
        FROM {database}.postings AS p
        WHERE entry = 'payment' AND record NOT IN (SELECT record FROM {database}.dead_letters_raw)
          AND (customer_id, currency, entry_id) IN (SELECT customer_id, currency, payment_id FROM {database}.payment_returns)
        GROUP BY customer_id, currency, payment_id, number, invoice_id
    ),
    payments AS (
        SELECT customer_id, currency, payment_id, number, invoice_id, paid_on,
               sum(amount) OVER (PARTITION BY customer_id, currency, payment_id ORDER BY number = 0 DESC, number DESC) AS slot_end,
               slot_end - amount AS slot_start
        FROM slots
    )
SELECT p.customer_id AS customer_id, p.currency AS currency, p.invoice_id AS invoice_id, r.return_id AS entry_id,
       p.number AS number, greatest(r.day, p.paid_on) AS day,
       toDecimal64(greatest(p.slot_start, r.return_start) - least(p.slot_end, r.return_end), 2) AS amount
FROM payments AS p
INNER JOIN returns AS r ON p.customer_id = r.customer_id AND p.currency = r.currency AND p.payment_id = r.payment_id
WHERE least(p.slot_end, r.return_end) > greatest(p.slot_start, r.return_start);

CREATE VIEW IF NOT EXISTS {database}.invoice_closures AS
SELECT customer_id, invoice_id, minIf(c.day, kind = 'cancelled') AS cancelled, minIf(c.day, kind = 'written_off') AS written_off,
       countIf(kind = 'cancelled') > 0 AS is_cancelled, countIf(kind = 'written_off') > 0 AS is_written_off
FROM {database}.closures AS c
WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
GROUP BY customer_id, invoice_id;

-- One row per invoice with its terms, and what was paid and credited to it: day, is it a credit note, amount, key (a resent
-- fact may be there twice, with the same key); invoice_id is empty for what no allocation names.
CREATE VIEW IF NOT EXISTS {database}.invoice_accounts AS
SELECT customer_id, currency, invoice_id,
       max(p.entry = 'invoice') AS known,
       minIf(p.day, p.entry = 'invoice') AS issued_on,
       max(p.due_on) AS due_on,
       maxIf(p.amount, p.entry = 'invoice') AS invoiced,
       groupArrayIf((p.day, p.entry = 'credit_note', p.amount, cityHash64(p.entry, p.entry_id, p.number)), p.entry != 'invoice') AS settled
FROM (
    SELECT customer_id, currency, invoice_id, entry, entry_id, number, day, due_on, amount
    FROM {database}.postings
    WHERE record NOT IN (SELECT record FROM {database}.dead_letters_raw)
    UNION ALL
    SELECT customer_id, currency, invoice_id, 'return', entry_id, number, day, toDate32('1970-01-01'), amount
    FROM {database}.return_postings
) AS p
GROUP BY customer_id, currency, invoice_id;

-- By how much open amount and unapplied cash change on which day, invoice by invoice. The rules:
-- an invoice is open from its issue; what was allocated before counts from there, and is unapplied until then;
-- more than its amount is unapplied; cancelled or written off, nothing is open, and what was paid on a cancelled one is unapplied;
-- what a credit note leaves unallocated lowers the open amount (never due).
-- The plain case (one settlement at most, none of the above) is told apart first: it is ten times as fast as the general one.
CREATE VIEW IF NOT EXISTS {database}.invoice_steps AS
WITH
    toDate32('2299-12-31') AS never,
    toDecimal128(0, 2) AS zero,
    if(c.is_cancelled, c.cancelled, never) AS cancelled_on,
    least(cancelled_on, if(c.is_written_off, c.written_off, never)) AS closed_on,
    toDecimal128(a.invoiced, 2) AS amount,
    a.settled[1] AS only,
    a.known AND closed_on = never AND length(a.settled) < 2 AND only.1 >= if(empty(a.settled), only.1, a.issued_on)
        AND only.3 <= a.invoiced AS plain,
    arraySort(arrayConcat(
        arrayMap(s -> (s.1, if(s.2, zero, toDecimal128(s.3, 2)), if(s.2, toDecimal128(s.3, 2), zero), s.4), arrayDistinct(a.settled)),
        if(a.known, [(a.issued_on, zero, zero, toUInt64(0))], []),
        if(a.known AND c.is_cancelled AND c.cancelled > a.issued_on, [(c.cancelled, zero, zero, toUInt64(0))], []),
        if(a.known AND c.is_written_off AND c.written_off > a.issued_on, [(c.written_off, zero, zero, toUInt64(0))], [])
    )) AS entries,
    arrayMap((day, paid, credited) -> (
        day,
        multiIf(a.invoice_id = '', -credited, a.known AND day >= a.issued_on AND day < closed_on, greatest(amount - paid - credited, zero), zero),
        multiIf(a.invoice_id = '', paid, NOT a.known OR day < a.issued_on, paid + credited,
                day >= cancelled_on, paid + greatest(credited - amount, zero), greatest(paid + credited - amount, zero))
    ), entries.1, arrayCumSum(entries.2), arrayCumSum(entries.3)) AS states,
    if(plain,
       if(empty(a.settled),
          [(a.issued_on, amount, zero, amount)],
          [(a.issued_on, amount, zero, amount), (only.1, toDecimal128(-only.3, 2), zero, zero)]),
       arrayConcat(
           arrayMap((state, before) -> (state.1, state.2 - before.2, state.3 - before.3, zero),
                    states, arrayPushFront(arrayPopBack(states), (never, zero, zero))),
           if(a.known, [(a.issued_on, zero, zero, amount)], []))
    ) AS steps
SELECT a.customer_id AS customer_id, a.currency AS currency, a.invoice_id AS invoice_id, if(a.known, a.due_on, never) AS due_on,
       step.1 AS day, step.2 AS open_step, step.3 AS unapplied_step, step.4 AS sales_step
FROM {database}.invoice_accounts AS a
ANY LEFT JOIN {database}.invoice_closures AS c ON a.customer_id = c.customer_id AND a.invoice_id = c.invoice_id
ARRAY JOIN steps AS step;

-- A row per debtor, currency and day, from the first fact to the last tick. An open amount moves through the buckets by
-- itself, so its steps are spread over the days on which it does; the sum of the steps up to a day is that day's amount.
CREATE VIEW IF NOT EXISTS {database}.debtor_daily AS
WITH
    (SELECT toInt32(as_day) FROM {database}.as_of) AS last_day,
    toDecimal128(0, 2) AS zero,
    [(0, -1000000, 0), (1, 1, 30), (2, 31, 60), (3, 61, 90), (4, 91, 1000000)] AS buckets,
    steps AS (
        SELECT customer_id, currency, toInt32(s.day) AS step_day, toInt32(s.due_on) AS due_day,
               sum(s.open_step) AS opened, sum(s.unapplied_step) AS freed, sum(s.sales_step) AS sold
        FROM {database}.invoice_steps AS s
        GROUP BY customer_id, currency, step_day, due_day
    ),
    moves AS (
        SELECT customer_id, currency, move.1 AS move_day,
               sumIf(move.3, move.2 = 0) AS not_due_step, sumIf(move.3, move.2 = 1) AS due_1_30_step,
               sumIf(move.3, move.2 = 2) AS due_31_60_step, sumIf(move.3, move.2 = 3) AS due_61_90_step,
               sumIf(move.3, move.2 = 4) AS due_over_90_step, sumIf(move.3, move.2 = 5) AS unapplied_step,
               sumIf(move.3, move.2 = 6) AS sales_step, sumIf(move.3, move.2 = 7) AS sales_90d_step
        FROM steps
        ARRAY JOIN arrayConcat(
            arrayMap(b -> (greatest(step_day, due_day + b.2), b.1, opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            arrayMap(b -> (due_day + b.3 + 1, b.1, -opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            [(step_day, 5, freed), (step_day, 6, sold), (step_day, 7, sold), (step_day + 90, 7, -sold)]
        ) AS move
        WHERE move.1 <= last_day
        GROUP BY customer_id, currency, move_day
    ),
    running AS (
        SELECT customer_id, currency, move_day, sales_step,
               sum(not_due_step) OVER past AS not_due, sum(due_1_30_step) OVER past AS due_1_30,
               sum(due_31_60_step) OVER past AS due_31_60, sum(due_61_90_step) OVER past AS due_61_90,
               sum(due_over_90_step) OVER past AS due_over_90, sum(unapplied_step) OVER past AS unapplied,
               sum(sales_step) OVER past AS sales_to_date, sum(sales_90d_step) OVER past AS sales_90d,
               leadInFrame(move_day, 1, assumeNotNull(last_day) + 1) OVER (
                   PARTITION BY customer_id, currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_day
        FROM moves
        WINDOW past AS (PARTITION BY customer_id, currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    days AS (
        SELECT customer_id, currency, each_day, if(each_day = move_day, sales_step, zero) AS sales,
               not_due, due_1_30, due_31_60, due_61_90, due_over_90, unapplied, sales_to_date, sales_90d,
               due_1_30 + due_31_60 + due_61_90 + due_over_90 AS overdue, not_due + overdue AS open,
               sales_to_date - greatest(open, zero) AS exhausted_at
        FROM running
        ARRAY JOIN range(move_day, next_day) AS each_day
    ),
    -- Countback: the first day at whose end more had been sold than what is no longer open (exhausted_at). Sales to date only
    -- grow, so in falling order of both that day is the least day of sales met so far; at a tie it must not be met yet.
    ranked AS (
        SELECT *, is_sale,
               min(if(is_sale = 1, (each_day, sales_to_date, sales), (2147483647, zero, zero))) OVER (
                   PARTITION BY customer_id, currency ORDER BY if(is_sale = 1, sales_to_date, exhausted_at) DESC, is_sale
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reached
        FROM days
        ARRAY JOIN if(sales > 0, [0, 1], [0]) AS is_sale
    )
SELECT customer_id, currency, toDate32(each_day) AS day,
       toDecimal64(open - r.unapplied, 2) AS exposure, toDecimal64(open, 2) AS open_amount, toDecimal64(r.unapplied, 2) AS unapplied,
       toDecimal64(overdue, 2) AS overdue_amount, toDecimal64(r.not_due, 2) AS not_due, toDecimal64(r.due_1_30, 2) AS due_1_30,
       toDecimal64(r.due_31_60, 2) AS due_31_60, toDecimal64(r.due_61_90, 2) AS due_61_90,
       toDecimal64(r.due_over_90, 2) AS due_over_90, toDecimal64(r.sales, 2) AS sales, toDecimal64(r.sales_90d, 2) AS sales_90d,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(open, 10) * 90 / if(r.sales_90d = 0, 1, r.sales_90d), 2), 2)) AS dso_standard,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(r.not_due, 10) * 90 / if(r.sales_90d = 0, 1, r.sales_90d), 2), 2)) AS dso_best_possible,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(overdue, 10) * 90 / if(r.sales_90d = 0, 1, r.sales_90d), 2), 2)) AS dso_add,
       multiIf(r.sales_90d = 0, NULL, open <= 0, toDecimal64(0, 2),
               toDecimal64(round(each_day - reached.1 + toDecimal128(reached.2 - exhausted_at, 10) / if(reached.3 = 0, 1, reached.3), 2), 2)
       ) AS dso_countback
FROM ranked AS r
WHERE is_sale = 0;

-- The same for all debtors together.
CREATE VIEW IF NOT EXISTS {database}.portfolio_daily AS
WITH
    (SELECT toInt32(as_day) FROM {database}.as_of) AS last_day,
    toDecimal128(0, 2) AS zero,
    [(0, -1000000, 0), (1, 1, 30), (2, 31, 60), (3, 61, 90), (4, 91, 1000000)] AS buckets,
    steps AS (
        SELECT currency, toInt32(s.day) AS step_day, toInt32(s.due_on) AS due_day,
               sum(s.open_step) AS opened, sum(s.unapplied_step) AS freed, sum(s.sales_step) AS sold
        FROM {database}.invoice_steps AS s
        GROUP BY currency, step_day, due_day
    ),
    moves AS (
        SELECT currency, move.1 AS move_day,
               sumIf(move.3, move.2 = 0) AS not_due_step, sumIf(move.3, move.2 = 1) AS due_1_30_step,
               sumIf(move.3, move.2 = 2) AS due_31_60_step, sumIf(move.3, move.2 = 3) AS due_61_90_step,
               sumIf(move.3, move.2 = 4) AS due_over_90_step, sumIf(move.3, move.2 = 5) AS unapplied_step,
               sumIf(move.3, move.2 = 6) AS sales_step, sumIf(move.3, move.2 = 7) AS sales_90d_step
        FROM steps
        ARRAY JOIN arrayConcat(
            arrayMap(b -> (greatest(step_day, due_day + b.2), b.1, opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            arrayMap(b -> (due_day + b.3 + 1, b.1, -opened), arrayFilter(b -> due_day + b.3 >= step_day, buckets)),
            [(step_day, 5, freed), (step_day, 6, sold), (step_day, 7, sold), (step_day + 90, 7, -sold)]
        ) AS move
        WHERE move.1 <= last_day
        GROUP BY currency, move_day
    ),
    running AS (
        SELECT currency, move_day, sales_step,
               sum(not_due_step) OVER past AS not_due, sum(due_1_30_step) OVER past AS due_1_30,
               sum(due_31_60_step) OVER past AS due_31_60, sum(due_61_90_step) OVER past AS due_61_90,
               sum(due_over_90_step) OVER past AS due_over_90, sum(unapplied_step) OVER past AS unapplied,
               sum(sales_step) OVER past AS sales_to_date, sum(sales_90d_step) OVER past AS sales_90d,
               leadInFrame(move_day, 1, assumeNotNull(last_day) + 1) OVER (
                   PARTITION BY currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_day
        FROM moves
        WINDOW past AS (PARTITION BY currency ORDER BY move_day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    days AS (
        SELECT currency, each_day, if(each_day = move_day, sales_step, zero) AS sales,
               not_due, due_1_30, due_31_60, due_61_90, due_over_90, unapplied, sales_to_date, sales_90d,
               due_1_30 + due_31_60 + due_61_90 + due_over_90 AS overdue, not_due + overdue AS open,
               sales_to_date - greatest(open, zero) AS exhausted_at
        FROM running
        ARRAY JOIN range(move_day, next_day) AS each_day
    ),
    -- Countback: the first day at whose end more had been sold than what is no longer open (exhausted_at). Sales to date only
    -- grow, so in falling order of both that day is the least day of sales met so far; at a tie it must not be met yet.
    ranked AS (
        SELECT *, is_sale,
               min(if(is_sale = 1, (each_day, sales_to_date, sales), (2147483647, zero, zero))) OVER (
                   PARTITION BY currency ORDER BY if(is_sale = 1, sales_to_date, exhausted_at) DESC, is_sale
                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reached
        FROM days
        ARRAY JOIN if(sales > 0, [0, 1], [0]) AS is_sale
    )
SELECT currency, toDate32(each_day) AS day,
       toDecimal64(open - r.unapplied, 2) AS exposure, toDecimal64(open, 2) AS open_amount, toDecimal64(r.unapplied, 2) AS unapplied,
       toDecimal64(overdue, 2) AS overdue_amount, toDecimal64(r.not_due, 2) AS not_due, toDecimal64(r.due_1_30, 2) AS due_1_30,
       toDecimal64(r.due_31_60, 2) AS due_31_60, toDecimal64(r.due_61_90, 2) AS due_61_90,
       toDecimal64(r.due_over_90, 2) AS due_over_90, toDecimal64(r.sales, 2) AS sales, toDecimal64(r.sales_90d, 2) AS sales_90d,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(open, 10) * 90 / if(r.sales_90d = 0, 1, r.sales_90d), 2), 2)) AS dso_standard,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(r.not_due, 10) * 90 / if(r.sales_90d = 0, 1, r.sales_90d), 2), 2)) AS dso_best_possible,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(overdue, 10) * 90 / if(r.sales_90d = 0, 1, r.sales_90d), 2), 2)) AS dso_add,
       multiIf(r.sales_90d = 0, NULL, open <= 0, toDecimal64(0, 2),
               toDecimal64(round(each_day - reached.1 + toDecimal128(reached.2 - exhausted_at, 10) / if(reached.3 = 0, 1, reached.3), 2), 2)
       ) AS dso_countback
FROM ranked AS r
WHERE is_sale = 0;

-- What each debtor owes as of the last tick: the rules of debtor_daily for its last day, without the days before.
CREATE VIEW IF NOT EXISTS {database}.debtor_amounts AS
WITH
    (SELECT toInt32(as_day) FROM {database}.as_of) AS today,
    toDecimal128(0, 2) AS zero,
    by_day AS (
        SELECT customer_id, currency, toInt32(s.day) AS step_day, sum(s.open_step) AS opened, sum(s.unapplied_step) AS freed,
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
        SELECT customer_id, currency, sum(opened) AS open, sum(freed) AS unapplied, sum(b.not_due) AS not_due,
               sum(b.due_1_30) AS due_1_30, sum(b.due_31_60) AS due_31_60, sum(b.due_61_90) AS due_61_90,
               sum(b.due_over_90) AS due_over_90, sumIf(sold, today - step_day < 90) AS sales_90d,
               arrayReverseSort(groupArrayIf((step_day, sold), sold > 0)) AS sales,
               arrayCumSum(sales.2) AS sold_since
        FROM by_day AS b
        GROUP BY customer_id, currency
    ),
    reached AS (
        SELECT *, open - not_due AS overdue, if(a.sales_90d = 0, 1, a.sales_90d) AS divisor,
               arrayFirstIndex(sum -> sum >= a.open, sold_since) AS found,
               sales[found].1 AS last_day, sold_since[found] - sales[found].2 AS sold_after, if(found = 0, 1, sales[found].2) AS last_sold
        FROM amounts AS a
    )
SELECT customer_id, currency, toDecimal64(open - r.unapplied, 2) AS exposure, toDecimal64(open, 2) AS open_amount,
       toDecimal64(r.unapplied, 2) AS unapplied, toDecimal64(overdue, 2) AS overdue_amount, toDecimal64(r.not_due, 2) AS not_due,
       toDecimal64(r.due_1_30, 2) AS due_1_30, toDecimal64(r.due_31_60, 2) AS due_31_60, toDecimal64(r.due_61_90, 2) AS due_61_90,
       toDecimal64(r.due_over_90, 2) AS due_over_90, toDecimal64(r.sales_90d, 2) AS sales_90d,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(open, 10) * 90 / divisor, 2), 2)) AS dso_standard,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(r.not_due, 10) * 90 / divisor, 2), 2)) AS dso_best_possible,
       if(r.sales_90d = 0, NULL, toDecimal64(round(toDecimal128(overdue, 10) * 90 / divisor, 2), 2)) AS dso_add,
       multiIf(r.sales_90d = 0, NULL, open <= 0, toDecimal64(0, 2),
               toDecimal64(round(today - last_day + toDecimal128(open - sold_after, 10) / last_sold, 2), 2)) AS dso_countback
FROM reached AS r;

-- The last score of each debtor itself (not of an invoice), and its last limit.
CREATE VIEW IF NOT EXISTS {database}.debtor_scores AS
SELECT customer_id, p_late, p_default, expected_loss, coalesce(currency, '') AS currency, band, scored_at
FROM {database}.scores_raw
WHERE invoice_id IS NULL
ORDER BY customer_id, scored_at DESC, recorded_time DESC, offset DESC
LIMIT 1 BY customer_id;

CREATE VIEW IF NOT EXISTS {database}.current_limits AS
SELECT customer_id, generation, sequence, new_limit AS credit_limit, currency, terms_days, security_required, hold,
       effective_from, expires_on
FROM {database}.limit_changes_raw
ORDER BY customer_id, generation DESC, sequence DESC
LIMIT 1 BY customer_id;

-- One row per debtor and currency, also where there is a limit or a score but no invoice yet. Score and band are the debtor's, in
-- every row; the loss, the limit and the insured amount stand in the row of their own currency, so that sums count them once.
CREATE VIEW IF NOT EXISTS {database}.debtors AS
WITH
    toDecimal64(0, 2) AS zero,
    amounts AS (
        SELECT customer_id, toString(currency) AS currency,
               exposure, open_amount, unapplied, overdue_amount, not_due, due_1_30, due_31_60, due_61_90,
               due_over_90, sales_90d, dso_standard, dso_best_possible, dso_add, dso_countback
        FROM {database}.debtor_amounts
        UNION ALL
        SELECT customer_id, toString(currency),
               zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, NULL, NULL, NULL, NULL
        FROM {database}.current_limits
        UNION ALL
        SELECT customer_id, toString(currency),
               zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, NULL, NULL, NULL, NULL
        FROM {database}.debtor_scores
        WHERE customer_id NOT IN (SELECT customer_id FROM {database}.postings)
          AND customer_id NOT IN (SELECT customer_id FROM {database}.limit_changes_raw)
    ),
    owed AS (
        SELECT customer_id, currency,
               toDecimal64(sum(m.exposure), 2) AS exposure, toDecimal64(sum(m.open_amount), 2) AS open_amount,
               toDecimal64(sum(m.unapplied), 2) AS unapplied,
               toDecimal64(sum(m.overdue_amount), 2) AS overdue_amount, toDecimal64(sum(m.not_due), 2) AS not_due,
               toDecimal64(sum(m.due_1_30), 2) AS due_1_30, toDecimal64(sum(m.due_31_60), 2) AS due_31_60,
               toDecimal64(sum(m.due_61_90), 2) AS due_61_90, toDecimal64(sum(m.due_over_90), 2) AS due_over_90,
               toDecimal64(sum(m.sales_90d), 2) AS sales_90d, max(m.dso_standard) AS dso_standard,
               max(m.dso_best_possible) AS dso_best_possible, max(m.dso_add) AS dso_add,
               max(m.dso_countback) AS dso_countback
        FROM amounts AS m
        GROUP BY customer_id, currency
    )
SELECT a.customer_id AS customer_id, a.currency AS currency,
       a.exposure AS exposure, a.open_amount AS open_amount, a.unapplied AS unapplied,
       a.overdue_amount AS overdue_amount, a.not_due AS not_due, a.due_1_30 AS due_1_30, a.due_31_60 AS due_31_60,
       a.due_61_90 AS due_61_90, a.due_over_90 AS due_over_90, a.sales_90d AS sales_90d,
       a.dso_standard AS dso_standard, a.dso_best_possible AS dso_best_possible, a.dso_add AS dso_add,
       a.dso_countback AS dso_countback,
       if(s.customer_id = '', NULL, s.p_late) AS p_late, if(s.customer_id = '', NULL, s.p_default) AS p_default,
       if(s.currency = a.currency, s.expected_loss, NULL) AS expected_loss, if(s.customer_id = '', NULL, s.band) AS band,
       if(l.customer_id != '' AND l.currency = a.currency, l.credit_limit, NULL) AS credit_limit,
       if(c.currency = '' OR c.currency = a.currency, coalesce(c.insured_limit, zero), zero) AS insured,
       c.group_id AS group_id, c.segment AS segment, c.industry AS industry, c.country AS country,
       (SELECT as_of FROM {database}.as_of) AS as_of
FROM owed AS a
LEFT JOIN {database}.debtor_scores AS s ON s.customer_id = a.customer_id
LEFT JOIN {database}.current_limits AS l ON l.customer_id = a.customer_id
LEFT JOIN {database}.customers AS c ON c.customer_id = a.customer_id;
