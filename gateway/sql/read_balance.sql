-- What a wallet holds, and how much of it is held; zero for one that has been opened and never used.
SELECT m.opened_at,
       coalesce(b.posted, 0) AS posted,
       coalesce(b.held, 0) AS held,
       coalesce(b.updated_at, m.opened_at) AS updated_at
FROM pm.tb_account_map AS m
LEFT JOIN pm.account_balance AS b ON b.account_id = m.id
WHERE m.name = $1
