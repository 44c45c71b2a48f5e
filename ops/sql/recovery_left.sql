-- What a recovery finds under way: intents that are only planned, intents that wait for their provider, jobs that have
-- not left the outbox, cancellations that may be lost on their way.
SELECT (SELECT count(*) FROM pm.intent WHERE state = 'VALIDATED') AS planned,
       (SELECT count(*) FROM pm.intent WHERE state IN ('AUTHORIZED', 'IN_DOUBT')) AS at_psps,
       (SELECT count(*) FROM pm.outbox_event WHERE sent_at IS NULL) AS unsent,
       (SELECT count(*) FROM pm.outbox_event o
        JOIN pm.intent i ON i.id = o.intent_id AND i.state IN ('AUTHORIZED', 'IN_DOUBT')
        WHERE o.action = 'cancel' AND o.sent_at IS NOT NULL) AS cancellations
