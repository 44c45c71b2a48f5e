-- Takes rows of the history away.
DELETE FROM pm.tx_history AS h
USING unnest($1::uuid[], $2::uuid[]) AS gone (account, transfer)
WHERE h.account_id = gone.account AND h.transfer_id = gone.transfer
