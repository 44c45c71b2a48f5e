-- Has cancellations of open intents sent again: what Redis lost, nobody else remembers. A second one does no harm.
UPDATE pm.outbox_event o SET sent_at = NULL
FROM pm.intent i
WHERE i.id = o.intent_id AND i.state IN ('AUTHORIZED', 'IN_DOUBT') AND o.action = 'cancel' AND o.sent_at IS NOT NULL
