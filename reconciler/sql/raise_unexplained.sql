-- Tells people of money in the ledger that no intent in the log explains; one alert an intent, however often it is
-- seen. What somebody has closed stays closed: they have looked at it.
INSERT INTO pm.reconciliation_alert (severity, kind, subject, intent_id, detail)
SELECT 'critical', 'transfer_without_intent', told.id::text, told.id, told.detail
FROM unnest($1::uuid[], $2::json[]) AS told (id, detail)
ON CONFLICT (kind, subject) DO UPDATE SET seen = pm.reconciliation_alert.seen + 1, last_at = now()
