-- The next accounts by name, each with what the read model says it holds, and how much of that is held.
SELECT m.name, m.id, m.ledger, b.posted::text AS posted, b.held::text AS held
FROM pm.tb_account_map AS m
LEFT JOIN pm.account_balance AS b ON b.account_id = m.id
WHERE m.name > $1
ORDER BY m.name
LIMIT $2
