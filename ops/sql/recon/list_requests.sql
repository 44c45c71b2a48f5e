-- The requests that wait for somebody, or the last of all, or one.
SELECT id, break_id, evidence, reason, requested_by, requester, requested_at, decision, decided_by, decider,
       decision_reason, decided_at
FROM pm.reconciliation_request
WHERE CASE WHEN $2::bigint IS NULL THEN $1::boolean OR decision IS NULL ELSE id = $2 END
ORDER BY id DESC
LIMIT $3
