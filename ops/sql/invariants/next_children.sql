-- The next children, each with whether the payment that opened it is known.
SELECT c.psp, c.psp_transaction_id, c.purpose, c.child_id,
       EXISTS (SELECT FROM pm.psp_tx_map AS m
               WHERE m.psp = c.psp AND m.psp_transaction_id = c.psp_transaction_id) AS paid
FROM pm.psp_child AS c
WHERE (c.psp, c.psp_transaction_id, c.purpose) > ($1, $2, $3)
ORDER BY c.psp, c.psp_transaction_id, c.purpose
LIMIT $4
