-- Moves a cursor from where it was found; one that somebody else has moved stays.
INSERT INTO pm.reconciliation_cursor AS c (name, position, walked)
SELECT $1, $3::jsonb, $4
ON CONFLICT (name) DO UPDATE SET position = EXCLUDED.position, walked = c.walked + $4, updated_at = now()
WHERE c.position = $2::jsonb
RETURNING name
