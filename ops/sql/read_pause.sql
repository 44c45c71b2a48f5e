-- Who paused an operation of a provider, and when.
SELECT paused_by, (extract(epoch FROM paused_at) * 1000)::bigint AS paused_ms
FROM pm.psp_control
WHERE psp = $1 AND operation = $2
