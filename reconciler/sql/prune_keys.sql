-- Deletes one page of idempotency keys beyond their retention.
DELETE FROM pm.idempotency_key
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM pm.idempotency_key WHERE created_at < now() - make_interval(days => $1) LIMIT $2
))
