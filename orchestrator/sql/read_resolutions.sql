-- What stands, read in a statement of its own: only a new snapshot is sure to see what an insert collided with.
SELECT intent_id, attempt, kind, state, code, amount_minor, psp, psp_transaction_id, ledger_attempt
FROM pm.resolution WHERE intent_id = ANY ($1::uuid[])
