-- Raises alerts; one that stands is seen once more, and opened again if somebody had closed it.
INSERT INTO pm.reconciliation_alert AS a (severity, kind, subject, intent_id, detail)
SELECT r.severity, r.kind, r.subject, r.intent_id, r.detail::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[]) AS r (severity, kind, subject, intent_id, detail)
ON CONFLICT (kind, subject) DO UPDATE SET seen = a.seen + 1, last_at = now(), closed_at = NULL
