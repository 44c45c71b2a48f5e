-- Requests for verdicts, the newest first: those that wait for somebody, or all of them.
SELECT * FROM pm.operator_request
WHERE ($1 OR decision IS NULL OR (decision = 'approved' AND carried_out_at IS NULL)) AND ($2::bigint IS NULL OR id = $2)
ORDER BY id DESC
LIMIT $3
