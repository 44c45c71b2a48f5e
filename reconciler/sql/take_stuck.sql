-- Chooses the intents that have been planned for longest and marks them as asked for, in one statement: two sweepers
-- never ask for the same intent, and the next sweep goes on with the others.
UPDATE pm.intent SET updated_at = now()
WHERE id IN (
    SELECT id FROM pm.intent
    WHERE state = 'VALIDATED' AND updated_at < now() - make_interval(secs => $1) AND id <> ALL ($3::uuid[])
    ORDER BY updated_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id
