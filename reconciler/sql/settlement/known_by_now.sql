-- Breaks about payments of nobody's that are known by now: an intent has the reference, or the payment belongs to one.
SELECT b.subject
FROM pm.reconciliation_break AS b
WHERE b.kind = 'psp_unknown' AND b.state = 'OPEN' AND b.psp = $1 AND starts_with(b.subject, $1 || ':heard:')
  AND (EXISTS (SELECT FROM pm.psp_reference AS r WHERE r.psp = $1 AND r.reference = b.evidence ->> 'reference')
       OR EXISTS (
           SELECT FROM pm.psp_tx_map AS m
           WHERE m.psp = $1 AND m.psp_transaction_id = b.evidence ->> 'psp_transaction_id'
       ))
LIMIT $2
