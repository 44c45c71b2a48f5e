-- The submission of each attempt, whether it has left the outbox, what the provider calls it as far as it said, and
-- whether its adapter has answered it with anything that it cannot have known without submitting.
SELECT o.intent_id, o.psp, o.body, o.sent_at IS NOT NULL AS sent, coalesce(r.psp_ids, '{}') AS psp_ids,
       EXISTS (
           SELECT FROM pm.psp_result h
           WHERE h.intent_id = o.intent_id AND h.attempt = o.attempt AND h.body ->> 'action' = 'submit'
             AND h.outcome <> 'NOT_SUBMITTED'
       ) AS answered
FROM unnest($1::uuid[], $2::smallint[]) AS due (intent_id, attempt)
JOIN pm.outbox_event o ON o.intent_id = due.intent_id AND o.attempt = due.attempt AND o.action = 'submit'
LEFT JOIN pm.psp_reference r ON r.intent_id = due.intent_id AND r.attempt = due.attempt
