-- Ask a PSP to give up what it has been asked for: the submission's job once more, as a cancellation, with all that
-- the PSP has called it since. Asked twice it is asked once. Returns whether there is anything to ask for, which
-- nothing here decides: the intent moves only when the PSP confirms.
WITH job AS (
    SELECT o.intent_id, o.attempt, o.psp, o.body::jsonb AS body, coalesce(r.psp_ids, '{}') AS psp_ids
    FROM pm.intent AS i
    JOIN pm.outbox_event AS o ON o.intent_id = i.id AND o.attempt = i.attempt AND o.action = 'submit'
    LEFT JOIN pm.psp_reference AS r ON r.intent_id = i.id AND r.attempt = i.attempt
    WHERE i.id = $1 AND i.operation_type = ANY ($2) AND i.state = 'AUTHORIZED' AND i.next_action IS NOT NULL
), asked AS (
    INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body)
    SELECT intent_id, attempt, 'cancel', psp, body || jsonb_build_object(
        'action', 'cancel', 'psp_ids', coalesce(body -> 'psp_ids', '{}') || psp_ids
    )
    FROM job
    ON CONFLICT (intent_id, attempt, action) DO NOTHING
)
SELECT EXISTS (SELECT FROM job)
