-- Pauses an operation of a registered provider, all of them ('*'), or whatever is new ('+'); of one that is paused
-- only the reason changes.
-- Returns nothing where there is no such provider, or no such operation of it.
INSERT INTO pm.psp_control (psp, operation, reason, paused_by)
SELECT p.psp, $2, $3, $4 FROM pm.psp p
WHERE p.psp = $1 AND ($2 IN ('*', '+') OR p.manifest -> 'operations' -> $2 IS NOT NULL)
ON CONFLICT (psp, operation) DO UPDATE SET reason = excluded.reason
RETURNING paused_by, (extract(epoch FROM paused_at) * 1000)::bigint AS paused_ms
