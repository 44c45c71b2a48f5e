-- Jobs of open intents that have waited in the outbox for long, though their operation is not paused.
SELECT o.intent_id, o.attempt, o.action, o.psp, o.created_at
FROM pm.outbox_event AS o
WHERE o.sent_at IS NULL AND o.created_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (
      SELECT FROM pm.psp_control AS c
      WHERE c.psp = o.psp AND (c.operation = '*' OR c.operation = o.body ->> 'operation')
  )
  AND EXISTS (SELECT FROM pm.intent AS i WHERE i.id = o.intent_id AND i.state IN ('AUTHORIZED', 'IN_DOUBT'))
ORDER BY o.created_at, o.intent_id
LIMIT $2
