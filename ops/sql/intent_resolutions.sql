-- What was resolved about an intent, an attempt each.
SELECT attempt, kind, state, code, amount_minor, psp, psp_transaction_id, ledger_attempt, created_at
FROM pm.resolution
WHERE intent_id = $1
ORDER BY attempt
