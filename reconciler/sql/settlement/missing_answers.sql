-- Submissions of a provider that have left and are not decided, though its answer is due, and of which nobody has been
-- told. What asks a payer is due once its code has run out.
SELECT i.id, i.state, r.reference, (a.plan #>> '{dispatch,amount_minor}')::bigint AS amount_minor,
       a.plan #>> '{dispatch,currency}' AS currency, o.sent_at
FROM pm.intent AS i
JOIN pm.psp_reference AS r ON r.intent_id = i.id AND r.attempt = i.attempt AND r.psp = $1
JOIN pm.intent_attempt AS a ON a.intent_id = i.id AND a.attempt = i.attempt
JOIN pm.outbox_event AS o ON o.intent_id = i.id AND o.attempt = i.attempt AND o.action = 'submit'
WHERE i.state IN ('AUTHORIZED', 'IN_DOUBT')
  AND greatest(o.sent_at, to_timestamp((i.next_action ->> 'expires_ms')::bigint / 1000.0))
      < now() - make_interval(secs => $2)
  AND NOT EXISTS (SELECT FROM pm.resolution AS s WHERE s.intent_id = i.id AND s.attempt = i.attempt)
  AND NOT EXISTS (
      SELECT FROM pm.reconciliation_break AS b
      WHERE b.kind = 'psp_missing' AND b.subject = $1 || ':answer:' || i.id AND b.state = 'OPEN'
  )
ORDER BY i.id
LIMIT $3
