-- The next payments that PSPs have named, by their keys.
SELECT psp, psp_transaction_id FROM pm.psp_tx_map
WHERE (psp, psp_transaction_id) > ($1, $2)
ORDER BY psp, psp_transaction_id
LIMIT $3
