-- Takes lines of a file: each is stored once a payment and word, with the intent that it names, and agreed with on the
-- spot where everything that is known says the same. Returns how many were new, and how many of them are not agreed with.
WITH given AS (
    SELECT *
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[],
                $11::bigint[], $12::timestamptz[], $13::boolean[])
        AS l (line, line_key, reference, psp_transaction_id, batch, means, amount_minor, currency, fee_minor, at, odd)
), matched AS (
    SELECT l.*, r.intent_id AS by_reference, t.intent_id AS by_transaction, t.amount_minor AS known_minor,
           t.currency AS known_currency
    FROM given AS l
    LEFT JOIN LATERAL (
        SELECT h.intent_id FROM pm.psp_reference AS h WHERE h.psp = $2 AND h.reference = l.reference LIMIT 1
    ) AS r ON true
    LEFT JOIN LATERAL (
        SELECT m.intent_id, m.amount_minor, m.currency FROM pm.psp_tx_map AS m
        WHERE m.psp = $2 AND m.psp_transaction_id = l.psp_transaction_id LIMIT 1
    ) AS t ON true
), inserted AS (
    INSERT INTO pm.settlement_line (file_id, line, psp, line_key, reference, psp_transaction_id, batch, means,
                                    amount_minor, currency, fee_minor, at, intent_id, matched_by, verdict)
    SELECT $1, m.line, $2, m.line_key, m.reference, m.psp_transaction_id, m.batch, m.means, m.amount_minor, m.currency,
           m.fee_minor, m.at, coalesce(m.by_reference, m.by_transaction),
           CASE WHEN m.by_reference IS NOT NULL THEN 'reference' WHEN m.by_transaction IS NOT NULL THEN 'transaction' END,
           CASE WHEN m.odd THEN 'new'
                WHEN m.means = 'nothing' THEN 'agrees'
                WHEN m.means = 'paid' AND i.state = 'SETTLED' AND m.known_minor = m.amount_minor
                     AND m.known_currency = m.currency
                     AND m.by_transaction = coalesce(m.by_reference, m.by_transaction) THEN 'agrees'
                WHEN m.means = 'failed' AND i.state IN ('FAILED', 'EXPIRED', 'REJECTED') AND m.by_reference IS NOT NULL
                     AND m.by_transaction IS NULL THEN 'agrees'
                ELSE 'new' END
    FROM matched AS m
    LEFT JOIN LATERAL (
        SELECT n.state FROM pm.intent AS n WHERE n.id = coalesce(m.by_reference, m.by_transaction) LIMIT 1
    ) AS i ON true
    ON CONFLICT (psp, line_key) DO NOTHING
    RETURNING verdict
), counted AS (
    UPDATE pm.settlement_file SET taken = taken + (SELECT count(*) FROM inserted) WHERE id = $1
)
SELECT count(*) AS taken, count(*) FILTER (WHERE verdict = 'new') AS odd FROM inserted
