-- What an intent did to customers' accounts. Its transfers share its id but for the lowest 16 bits, so that one
-- partition holds them all.
SELECT coalesce(m.name, h.account_id::text) AS account, h.transfer_id, h.amount_minor, h.code, h.at
FROM pm.tx_history AS h
LEFT JOIN pm.tb_account_map AS m ON m.id = h.account_id
WHERE h.intent_id = $1 AND h.transfer_id BETWEEN $1 AND (left($1::text, 32) || 'ffff')::uuid
ORDER BY h.transfer_id
