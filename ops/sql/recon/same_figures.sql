-- Whether a break says what it said when request $1 about it was written down: the audit log has kept that.
SELECT b.sides = a.detail -> 'sides'
FROM pm.reconciliation_break AS b
JOIN pm.audit_log AS a ON a.action = 'recon.write_off_requested' AND a.target = 'break:' || b.id
WHERE b.id = $2 AND (a.detail ->> 'request')::bigint = $1
