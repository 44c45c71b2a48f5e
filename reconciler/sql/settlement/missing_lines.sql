-- Payments of a provider that became known in a stretch of time, and of which no line of its files says that they were
-- paid.
SELECT m.psp_transaction_id, m.intent_id, m.amount_minor, m.currency, m.created_at
FROM pm.psp_tx_map AS m
WHERE m.psp = $1 AND m.created_at >= $2 AND m.created_at < $3
  AND NOT EXISTS (
      SELECT FROM pm.settlement_line AS l WHERE l.psp = $1 AND l.line_key = m.psp_transaction_id || ':paid'
  )
ORDER BY m.created_at, m.psp_transaction_id
LIMIT $4
