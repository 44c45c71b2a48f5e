-- A request for a verdict; nothing where one is open for the intent already.
INSERT INTO pm.operator_request (kind, intent_id, attempt, psp, psp_transaction_id, amount_minor, currency, evidence,
                                 evidence_sha256, reason, requested_by, requester)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (intent_id) WHERE decision IS NULL DO NOTHING
RETURNING id
