-- Takes the intents that have been due for longest and puts them off by a lease: whoever reads this next takes
-- others, and what the taker does not live to schedule comes back by itself. No lock outlives the statement.
UPDATE pm.intent SET next_poll_at = now() + make_interval(secs => $2)
FROM (
    SELECT id FROM pm.intent
    WHERE next_poll_at <= now()
    ORDER BY next_poll_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE intent.id = due.id
RETURNING intent.id, intent.attempt, intent.state, intent.polls, intent.next_poll_at AS lease,
          (intent.next_action ->> 'expires_ms')::bigint AS expires_ms
