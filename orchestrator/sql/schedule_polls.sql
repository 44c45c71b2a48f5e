-- Says when each intent is looked at next, unless somebody who knows more has said so since it was claimed, or is
-- about to: then that stands, or the lease does. A negative pause ends the asking.
UPDATE pm.intent
SET next_poll_at = CASE WHEN due.pause_s >= 0 THEN now() + make_interval(secs => due.pause_s) END, polls = polls + due.asked
FROM (
    SELECT i.id, given.pause_s, given.asked
    FROM unnest($1::uuid[], $2::timestamptz[], $3::float8[], $4::integer[]) AS given (id, lease, pause_s, asked)
    JOIN pm.intent i ON i.id = given.id AND i.next_poll_at = given.lease
    FOR UPDATE OF i SKIP LOCKED
) AS due
WHERE intent.id = due.id
