-- The next rows of the history by their key.
SELECT account_id, transfer_id, intent_id, amount_minor FROM pm.tx_history
WHERE (account_id, transfer_id) > ($1, $2)
ORDER BY account_id, transfer_id
LIMIT $3
