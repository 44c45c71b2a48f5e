-- Intents with everything that is known about their payments at a PSP: one row each.
SELECT i.id, i.service_key_id, i.state, i.version, i.attempt, i.funds, i.polls, i.created_at,
       a.plan, o.body AS job, f.psp_ids::text AS psp_ids,
       r.kind, r.state AS resolved_state, r.code, r.amount_minor, r.psp_transaction_id, r.ledger_attempt,
       coalesce(t.payments, '[]') AS payments,
       EXISTS (SELECT FROM pm.psp_result AS h WHERE h.intent_id = i.id AND h.source = 'job') AS answered
FROM pm.intent AS i
JOIN pm.intent_attempt AS a ON a.intent_id = i.id AND a.attempt = i.attempt AND a.intent_id = ANY ($1::uuid[])
LEFT JOIN pm.outbox_event AS o ON o.intent_id = i.id AND o.attempt = i.attempt AND o.action = 'submit'
LEFT JOIN pm.psp_reference AS f ON f.intent_id = i.id AND f.attempt = i.attempt
LEFT JOIN pm.resolution AS r ON r.intent_id = i.id AND r.attempt = i.attempt
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(
               m.psp_transaction_id, m.amount_minor, m.settles,
               (SELECT coalesce(json_object_agg(c.purpose, n.amount_minor), '{}')
                FROM pm.psp_child AS c JOIN pm.intent AS n ON n.id = c.child_id
                WHERE c.psp = m.psp AND c.psp_transaction_id = m.psp_transaction_id))) AS payments
    FROM pm.psp_tx_map AS m WHERE m.intent_id = i.id
) AS t ON true
WHERE i.id = ANY ($1::uuid[])
