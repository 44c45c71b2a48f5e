-- Deletes one page of allowances whose period has been over for longer than the window, but none that an open intent
-- has still reserved something of.
DELETE FROM pm.limit_usage
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM pm.limit_usage WHERE resets_at < now() - make_interval(days => $1) AND reserved = 0 LIMIT $2
))
