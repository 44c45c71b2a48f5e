-- Breaks about something missing of a provider that has come: the intent is decided, or a line is there that names the
-- payment, in one of the ways of `missing_lines`.
SELECT b.subject, coalesce(i.state, 'line ' || l.line || ' of ' || l.name) AS came
FROM pm.reconciliation_break AS b
LEFT JOIN LATERAL (
    SELECT n.state FROM pm.intent AS n
    WHERE n.id = b.intent_id AND starts_with(b.subject, $1 || ':answer:') AND n.state NOT IN ('AUTHORIZED', 'IN_DOUBT')
    LIMIT 1
) AS i ON true
LEFT JOIN LATERAL (
    SELECT * FROM pm.psp_tx_map AS t
    WHERE starts_with(b.subject, $1 || ':line:') AND t.psp = $1
      AND t.psp_transaction_id = substr(b.subject, length($1 || ':line:') + 1)
    LIMIT 1
) AS m ON true
LEFT JOIN LATERAL (
    SELECT s.line, f.name
    FROM (
        SELECT o.file_id, o.line FROM pm.settlement_line AS o
        WHERE o.psp = $1 AND o.line_key IN (m.psp_transaction_id || ':paid', m.psp_transaction_id || ':reversed')
        UNION ALL
        SELECT o.file_id, o.line FROM pm.psp_reference AS r
        JOIN pm.settlement_line AS o ON o.psp = $1 AND o.line_key = r.reference || ':paid'
        WHERE m.settles AND r.psp = $1 AND r.intent_id = m.intent_id AND r.attempt = m.attempt
        UNION ALL
        SELECT o.file_id, o.line FROM pm.settlement_line AS o
        WHERE m.settles AND o.psp = $1 AND o.intent_id = m.intent_id AND o.verdict = 'part'
    ) AS s
    JOIN pm.settlement_file AS f ON f.id = s.file_id
    LIMIT 1
) AS l ON true
WHERE b.kind = 'psp_missing' AND b.state = 'OPEN' AND b.psp = $1 AND (i.state IS NOT NULL OR l.line IS NOT NULL)
LIMIT $2
