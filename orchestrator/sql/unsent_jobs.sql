-- Takes the oldest unsent jobs of one provider, those of paused operations left where they are.
--
-- Intent ids are time-ordered. Of one intent the submission goes before its cancellation.
SELECT intent_id, attempt, action, body
FROM pm.outbox_event
WHERE psp = $1 AND sent_at IS NULL AND (action = 'cancel' OR body ->> 'operation' <> ALL ($2::text[]))
ORDER BY intent_id, attempt, action DESC
LIMIT $3
FOR UPDATE SKIP LOCKED
