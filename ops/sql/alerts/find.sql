-- One alert.
SELECT id, severity, kind, subject, intent_id, seen, first_at, last_at, closed_at, detail
FROM pm.reconciliation_alert
WHERE id = $1
