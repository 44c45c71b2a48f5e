-- Payments, each with the intent it belongs to, what was resolved about that, the children it opened, and the amount
-- that the PSP said it was of, in an answer to us.
SELECT m.psp, m.psp_transaction_id, m.intent_id, m.settles, m.amount_minor, m.currency,
       i.state, i.error_code, a.plan_kind, r.kind, r.amount_minor AS resolved_minor, r.psp_transaction_id AS resolved_by,
       coalesce(c.children, '[]') AS children, h.said_minor
FROM unnest($1::text[], $2::text[]) AS wanted (psp, name)
JOIN LATERAL (
    SELECT * FROM pm.psp_tx_map AS t WHERE t.psp = wanted.psp AND t.psp_transaction_id = wanted.name LIMIT 1
) AS m ON true
LEFT JOIN LATERAL (SELECT * FROM pm.intent AS one WHERE one.id = m.intent_id LIMIT 1) AS i ON true
LEFT JOIN LATERAL (
    SELECT p.plan ->> 'kind' AS plan_kind FROM pm.intent_attempt AS p
    WHERE p.intent_id = m.intent_id AND p.attempt = m.attempt LIMIT 1
) AS a ON true
LEFT JOIN LATERAL (
    SELECT * FROM pm.resolution AS s WHERE s.intent_id = m.intent_id AND s.attempt = m.attempt LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
               'purpose', o.purpose, 'parent_id', o.parent_id, 'state', x.state, 'kind', x.operation_type,
               'child_of', x.parent_id, 'amount_minor', x.amount_minor, 'currency', x.currency,
               'direction', x.operation ->> 'direction') ORDER BY o.purpose) AS children
    FROM pm.psp_child AS o
    LEFT JOIN LATERAL (SELECT * FROM pm.intent AS one WHERE one.id = o.child_id LIMIT 1) AS x ON true
    WHERE o.psp = m.psp AND o.psp_transaction_id = m.psp_transaction_id
) AS c ON true
LEFT JOIN LATERAL (
    SELECT (s.body ->> 'amount_minor')::bigint AS said_minor FROM pm.psp_result AS s
    WHERE s.intent_id = m.intent_id AND s.psp = m.psp AND s.outcome = 'PAID' AND s.source <> 'callback'
      AND s.body ->> 'psp_transaction_id' = m.psp_transaction_id
    ORDER BY s.received_at, s.entry_id LIMIT 1
) AS h ON true
ORDER BY m.psp, m.psp_transaction_id
