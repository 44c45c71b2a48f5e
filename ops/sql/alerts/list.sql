-- Alerts: the critical first, and the newest of those; $1 one kind only, $2 the closed ones too.
SELECT id, severity, kind, subject, intent_id, seen, first_at, last_at, closed_at, detail
FROM pm.reconciliation_alert
WHERE ($2 OR closed_at IS NULL) AND ($1::text IS NULL OR kind = $1)
ORDER BY closed_at IS NULL DESC, severity = 'critical' DESC, last_at DESC, id DESC
LIMIT $3
