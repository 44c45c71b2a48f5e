-- What the read model says that some accounts hold.
SELECT account_id, posted::text AS posted FROM pm.account_balance WHERE account_id = ANY ($1::uuid[])
