-- Intents with the plans of all their attempts.
SELECT i.id, i.state, i.attempt,
       coalesce(array_agg(a.attempt ORDER BY a.attempt) FILTER (WHERE a.attempt IS NOT NULL), '{}') AS attempts,
       coalesce(array_agg(a.plan::text ORDER BY a.attempt) FILTER (WHERE a.attempt IS NOT NULL), '{}') AS plans
FROM pm.intent AS i
LEFT JOIN pm.intent_attempt AS a ON a.intent_id = i.id
WHERE i.id = ANY ($1::uuid[])
GROUP BY i.id, i.state, i.attempt
