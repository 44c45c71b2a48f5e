-- The next transitions by time. What a transaction that is still open has written lies beyond the horizon.
SELECT at, intent_id, seq, to_state FROM pm.intent_event
WHERE at >= $1 AND at < $4 AND (at, intent_id, seq) > ($1, $2, $3)
ORDER BY at, intent_id, seq
LIMIT $5
