-- Ask a PSP to give up what it has been asked for: the submission's job once more, as a cancellation, with all that
-- the PSP has called it since. Asked twice it is asked once, until it has come to nothing: it was answered and the
-- intent waits all the same, or it was sent a day ago, so that it may lie among the dead letters. Then
-- whoever asks has the row sent again. Copies do no harm, as a cancellation is safe to repeat. Returns whether there is
-- anything to ask for, which nothing here decides: the intent moves only when the PSP confirms.
WITH job AS (
    SELECT o.intent_id, o.attempt, o.psp, (o.body::jsonb || jsonb_build_object(
        'action', 'cancel', 'psp_ids', coalesce(o.body::jsonb -> 'psp_ids', '{}') || coalesce(r.psp_ids, '{}')
    ))::json AS body
    FROM pm.intent AS i
    JOIN pm.outbox_event AS o ON o.intent_id = i.id AND o.attempt = i.attempt AND o.action = 'submit'
    LEFT JOIN pm.psp_reference AS r ON r.intent_id = i.id AND r.attempt = i.attempt
    WHERE i.id = $1 AND i.operation_type = ANY ($2) AND i.state = 'AUTHORIZED' AND i.next_action IS NOT NULL
), again AS (
    -- Only rows that were sent, so never one that a relay holds; of several who ask at once the first one finds it so.
    -- An answer from before the last sending is one to an earlier copy.
    UPDATE pm.outbox_event AS o SET sent_at = NULL, body = job.body
    FROM job
    WHERE o.intent_id = job.intent_id AND o.attempt = job.attempt AND o.action = 'cancel' AND o.sent_at IS NOT NULL
      AND (o.sent_at < now() - interval '1 day' OR EXISTS (
        SELECT FROM pm.psp_result AS s
        WHERE s.intent_id = o.intent_id AND s.attempt = o.attempt AND s.received_at > o.sent_at
          AND s.source = 'job' AND s.body ->> 'action' = 'cancel'
          AND s.outcome IN ('PENDING', 'NEXT_ACTION', 'UNKNOWN', 'NOT_FOUND', 'DECLINED')
      ))
), asked AS (
    INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body)
    SELECT intent_id, attempt, 'cancel', psp, body FROM job
    ON CONFLICT (intent_id, attempt, action) DO NOTHING
)
SELECT EXISTS (SELECT FROM job)
