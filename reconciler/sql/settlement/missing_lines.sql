-- Payments of a provider that became known in a stretch of time, and that no line of its files names: as paid or taken
-- back, by its own name; as paid, by our reference alone; or as one of the parts of what it was.
SELECT m.psp_transaction_id, m.intent_id, m.amount_minor, m.currency, m.created_at
FROM pm.psp_tx_map AS m
WHERE m.psp = $1 AND m.created_at >= $2 AND m.created_at < $3
  AND NOT EXISTS (
      SELECT FROM pm.settlement_line AS l
      WHERE l.psp = $1 AND l.line_key IN (m.psp_transaction_id || ':paid', m.psp_transaction_id || ':reversed')
  )
  AND NOT EXISTS (
      SELECT FROM pm.psp_reference AS r
      JOIN pm.settlement_line AS l ON l.psp = $1 AND l.line_key = r.reference || ':paid'
      WHERE m.settles AND r.psp = $1 AND r.intent_id = m.intent_id AND r.attempt = m.attempt
  )
  AND NOT EXISTS (
      SELECT FROM pm.settlement_line AS l
      WHERE m.settles AND l.psp = $1 AND l.intent_id = m.intent_id AND l.verdict = 'part'
  )
ORDER BY m.created_at, m.psp_transaction_id
LIMIT $4
