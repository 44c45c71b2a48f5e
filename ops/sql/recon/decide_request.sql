-- Decides a request that nobody has decided.
UPDATE pm.reconciliation_request
SET decision = $2, decided_by = $3, decider = $4, decision_reason = $5, decided_at = now()
WHERE id = $1 AND decision IS NULL
RETURNING id
