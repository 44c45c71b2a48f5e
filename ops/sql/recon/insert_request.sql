-- Writes a request down, unless one is open for that break.
INSERT INTO pm.reconciliation_request (break_id, evidence, reason, requested_by, requester)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (break_id) WHERE decision IS NULL DO NOTHING
RETURNING id
