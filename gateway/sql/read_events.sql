-- The steps that an intent has taken after one of them, in their order.
SELECT seq, from_state, to_state, at
FROM pm.intent_event
WHERE intent_id = $1 AND seq > $2
ORDER BY seq
LIMIT $3
