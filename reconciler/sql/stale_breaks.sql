-- Open breaks that can be looked at again, and have not been for a while.
SELECT kind, subject FROM pm.reconciliation_break
WHERE state = 'OPEN' AND kind = ANY ($1::text[]) AND last_at < now() - make_interval(secs => $2)
ORDER BY last_at, id
LIMIT $3
