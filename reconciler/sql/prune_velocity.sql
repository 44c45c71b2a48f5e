-- Deletes one page of what velocity rules have counted beyond the window, which is longer than any rule's.
DELETE FROM pm.velocity_event
WHERE ctid = ANY (ARRAY(SELECT ctid FROM pm.velocity_event WHERE at < now() - make_interval(days => $1) LIMIT $2))
