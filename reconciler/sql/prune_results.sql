-- Deletes one page of what was heard of providers beyond the window, but nothing about an intent that is still open.
-- The bare range on the time is what the BRIN index answers.
DELETE FROM pm.psp_result
WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM pm.psp_result r
    WHERE r.received_at < now() - make_interval(days => $1)
      AND NOT EXISTS (SELECT FROM pm.intent i WHERE i.id = r.intent_id AND i.state IN ('AUTHORIZED', 'IN_DOUBT'))
    LIMIT $2
))
