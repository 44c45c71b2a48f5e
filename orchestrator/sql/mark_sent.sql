-- Marks jobs as sent; the caller holds the locks of these rows.
UPDATE pm.outbox_event SET sent_at = now()
FROM unnest($1::uuid[], $2::smallint[], $3::text[]) AS sent (intent_id, attempt, action)
WHERE outbox_event.intent_id = sent.intent_id AND outbox_event.attempt = sent.attempt
  AND outbox_event.action = sent.action
