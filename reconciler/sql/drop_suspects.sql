-- Forgets suspects.
DELETE FROM pm.reconciliation_suspect AS s
USING unnest($1::text[], $2::text[]) AS d (what, key)
WHERE s.what = d.what AND s.key = d.key
