-- The open breaks, or the last of all, the gravest first and the oldest of those.
SELECT * FROM pm.reconciliation_break
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR psp = $2) AND ($3::boolean OR state = 'OPEN')
ORDER BY state = 'OPEN' DESC, array_position(ARRAY['emergency', 'critical', 'warning'], severity), first_at, id
LIMIT $4
