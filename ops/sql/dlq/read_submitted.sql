-- Intents, the submission of their present attempt as it was written to the outbox, and whether anything beside the
-- permit tells that somebody has begun to submit it: then an absent permit proves nothing.
SELECT i.id, i.state, i.attempt, o.body,
       i.state = 'IN_DOUBT' OR i.polls > 0 OR coalesce(r.psp_ids, '{}') <> '{}' OR EXISTS (
           SELECT FROM pm.psp_result h
           WHERE h.intent_id = i.id AND h.attempt = i.attempt AND h.body ->> 'action' = 'submit'
             AND h.outcome <> 'NOT_SUBMITTED'
       ) AS begun
FROM pm.intent AS i
LEFT JOIN pm.outbox_event AS o ON o.intent_id = i.id AND o.attempt = i.attempt AND o.action = 'submit'
LEFT JOIN pm.psp_reference AS r ON r.intent_id = i.id AND r.attempt = i.attempt
WHERE i.id = ANY ($1::uuid[])
