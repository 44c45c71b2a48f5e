-- Makes sure that every wallet has a row to lock.
INSERT INTO pm.account_balance (account_id)
SELECT w.id FROM unnest($1::uuid[]) AS w (id) ORDER BY w.id
ON CONFLICT DO NOTHING
