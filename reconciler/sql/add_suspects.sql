-- Keeps what is to be looked at again; rows arrive sorted by their key.
INSERT INTO pm.reconciliation_suspect (what, key, due_at)
SELECT s.what, s.key, now() + make_interval(secs => $3) FROM unnest($1::text[], $2::text[]) AS s (what, key)
ON CONFLICT DO NOTHING
