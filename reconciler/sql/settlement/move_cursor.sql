-- Keeps how far a walk over a provider's payments has come; it never goes back, whoever else walks too.
INSERT INTO pm.reconciliation_cursor AS c (name, position, walked) VALUES ($1, jsonb_build_object('at', $2::timestamptz), $3)
ON CONFLICT (name) DO UPDATE
SET position = excluded.position, walked = c.walked + excluded.walked, updated_at = now()
WHERE (c.position ->> 'at')::timestamptz < (excluded.position ->> 'at')::timestamptz
