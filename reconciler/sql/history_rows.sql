-- Rows of the history by their keys.
SELECT h.account_id, h.transfer_id, h.intent_id, h.amount_minor
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (account, transfer)
JOIN pm.tx_history AS h ON h.account_id = wanted.account AND h.transfer_id = wanted.transfer
