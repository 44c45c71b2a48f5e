-- One line of the audit log for each dead letter of a batch.
INSERT INTO pm.audit_log (actor, action, target, reason, detail)
SELECT $1, $2, r.target, $3, r.detail::jsonb
FROM unnest($4::text[], $5::text[]) AS r (target, detail)
