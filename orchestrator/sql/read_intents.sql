-- The intents as stored, each with the plan of its current attempt.
SELECT i.id, i.service_key_id, i.idempotency_key, i.state, i.version, i.attempt, i.funds, a.plan
FROM pm.intent AS i
LEFT JOIN pm.intent_attempt AS a
    ON a.intent_id = i.id AND a.attempt = i.attempt AND a.intent_id = ANY ($1::uuid[])
WHERE i.id = ANY ($1::uuid[])
