-- What somebody has still to look at, the critical first and the newest of those.
SELECT severity, kind, subject, intent_id, seen, first_at, last_at
FROM pm.reconciliation_alert
WHERE closed_at IS NULL
ORDER BY severity = 'critical' DESC, last_at DESC, id DESC
LIMIT $1
