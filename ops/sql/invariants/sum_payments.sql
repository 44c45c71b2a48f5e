-- By how much the payments that PSPs have named move our money there: up for money out, down for money in. What a
-- stored resolution or a child that is still under way may have moved already, or not, stands apart.
WITH movement AS (
    SELECT m.psp, m.currency, m.amount_minor * CASE a.plan ->> 'kind' WHEN 'hold' THEN 1 ELSE -1 END AS minor,
           m.settles AND i.state IN ('AUTHORIZED', 'IN_DOUBT')
               OR EXISTS (
                   SELECT FROM pm.psp_child AS c JOIN pm.intent AS x ON x.id = c.child_id
                   WHERE c.psp = m.psp AND c.psp_transaction_id = m.psp_transaction_id
                     AND c.purpose IN ('late_credit', 'suspense') AND x.state = 'VALIDATED'
               ) AS open
    FROM pm.psp_tx_map AS m
    LEFT JOIN pm.intent AS i ON i.id = m.intent_id
    LEFT JOIN pm.intent_attempt AS a ON a.intent_id = m.intent_id AND a.attempt = m.attempt
    LEFT JOIN pm.resolution AS r ON r.intent_id = m.intent_id AND r.attempt = m.attempt
    WHERE NOT (m.settles AND coalesce(r.kind IN ('void', 'close'), false))
    UNION ALL
    SELECT c.psp, x.currency, x.amount_minor * CASE x.operation ->> 'direction' WHEN 'out' THEN 1 ELSE -1 END,
           x.state = 'VALIDATED'
    FROM pm.psp_child AS c JOIN pm.intent AS x ON x.id = c.child_id
    WHERE c.purpose IN ('reversal', 'suspense_reversal') AND x.state <> 'REJECTED'
)
SELECT psp, currency,
       coalesce(sum(minor) FILTER (WHERE NOT open), 0)::text AS decided,
       coalesce(sum(minor) FILTER (WHERE open AND minor < 0), 0)::text AS down,
       coalesce(sum(minor) FILTER (WHERE open AND minor > 0), 0)::text AS up
FROM movement
GROUP BY psp, currency
ORDER BY psp, currency
