-- Deletes one page of sent jobs beyond the window, but none of an intent that is still open: the poller asks by it.
-- The bare range on the time is what the BRIN index answers.
DELETE FROM pm.outbox_event
WHERE ctid = ANY (ARRAY(
    SELECT o.ctid FROM pm.outbox_event o
    WHERE o.sent_at < now() - make_interval(days => $1)
      AND NOT EXISTS (SELECT FROM pm.intent i WHERE i.id = o.intent_id AND i.state IN ('AUTHORIZED', 'IN_DOUBT'))
    LIMIT $2
))
