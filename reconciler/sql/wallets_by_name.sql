-- Customers' accounts among these names, each with what the read model says that it holds.
SELECT m.name, m.id, b.posted::text AS posted, b.held::text AS held
FROM pm.tb_account_map AS m
LEFT JOIN pm.account_balance AS b ON b.account_id = m.id
WHERE m.name = ANY ($1::text[]) AND (starts_with(m.name, 'user:') OR starts_with(m.name, 'merchant:'))
ORDER BY m.name
