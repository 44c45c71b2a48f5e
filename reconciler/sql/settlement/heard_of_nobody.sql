-- Payments that a provider has told of since a moment and that nobody here knows, not by its name and not by ours.
SELECT r.outcome, r.source, r.received_at, r.body ->> 'reference' AS reference,
       r.body ->> 'psp_transaction_id' AS psp_transaction_id, (r.body ->> 'amount_minor')::bigint AS amount_minor,
       r.body ->> 'currency' AS currency
FROM pm.psp_result AS r
WHERE r.psp = $1 AND r.received_at >= $2 AND r.received_at < $3 AND r.intent_id IS NULL
  AND r.outcome IN ('PAID', 'REVERSED')
ORDER BY r.received_at
LIMIT $4
