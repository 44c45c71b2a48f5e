-- A page of a wallet's movements, newest first, from before the cursor. One row more than the page says whether
-- there is a next one.
SELECT transfer_id, intent_id, amount_minor, code, at
FROM pm.tx_history
WHERE account_id = $1 AND transfer_id < $2
ORDER BY transfer_id DESC
LIMIT $3
