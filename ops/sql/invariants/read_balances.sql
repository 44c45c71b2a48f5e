-- What the read model says that some accounts hold, and how much of that is held.
SELECT account_id, posted::text AS posted, held::text AS held
FROM pm.account_balance WHERE account_id = ANY ($1::uuid[])
