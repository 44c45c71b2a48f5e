-- The next intents whose state is final, with the plans of all their attempts.
WITH page AS (
    SELECT id, state, attempt
    FROM pm.intent
    WHERE id > $1 AND id <= $2 AND state IN ('SETTLED', 'REJECTED', 'DUPLICATE')
    ORDER BY id
    LIMIT $3
)
SELECT i.id, i.state, i.attempt,
       coalesce(array_agg(a.attempt ORDER BY a.attempt) FILTER (WHERE a.attempt IS NOT NULL), '{}') AS attempts,
       coalesce(array_agg(a.plan::text ORDER BY a.attempt) FILTER (WHERE a.attempt IS NOT NULL), '{}') AS plans
FROM page AS i
LEFT JOIN pm.intent_attempt AS a ON a.intent_id = i.id AND a.intent_id > $1 AND a.intent_id <= $2
GROUP BY i.id, i.state, i.attempt
ORDER BY i.id
